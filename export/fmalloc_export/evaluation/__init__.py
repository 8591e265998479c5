"""`fmalloc eval`: stores, bundles and plain models scored on any test set."""
