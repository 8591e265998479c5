"""Files in, files out: what there is to translate in a file, and the same file with translations in it."""
