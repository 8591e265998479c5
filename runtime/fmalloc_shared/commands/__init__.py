"""What every command of fmalloc is made of: the table of verbs, flags, errors as messages, and what is shown."""
