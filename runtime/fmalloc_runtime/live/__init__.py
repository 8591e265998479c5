"""The bundles that are served right now: loaded, swapped and dropped within a memory budget."""
