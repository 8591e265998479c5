"""A fuzzer of everything that is read from disk: one mutation at a time, through the commands that read it."""
