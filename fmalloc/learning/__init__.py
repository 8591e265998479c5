"""F-MALLOC itself: a store is created, and one task after another is learned into it."""
