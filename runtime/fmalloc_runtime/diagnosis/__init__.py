"""`fmalloc doctor`: one file of checks per part of an installation."""
