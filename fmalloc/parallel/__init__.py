"""Independent domains learned at once: each in a process and a part of the store of its own, united at the end."""
