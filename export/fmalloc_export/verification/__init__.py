"""`fmalloc verify`: whether a store is whole and a bundle what it says; compiled again byte by byte."""
