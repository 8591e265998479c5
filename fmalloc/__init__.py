"""fmalloc: the feed-forward layers of a translation model as memory that domains are allocated in.

Importing this package, its store and its cells needs no torch; it comes in with the modules that train.
"""
