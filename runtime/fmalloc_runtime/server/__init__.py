"""The server process, its settings check, and Ray Serve."""
