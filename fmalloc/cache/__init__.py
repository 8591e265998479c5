"""Arrays made from text, memory-mapped from a folder where they are kept by what they were made from."""
