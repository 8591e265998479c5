"""Formats of parallel text: told apart and read into pairs; what stands in their way is named by file and line."""
