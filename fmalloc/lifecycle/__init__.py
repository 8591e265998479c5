"""The life of what a store learned, after it was learned: room is added, and domains are freed."""
