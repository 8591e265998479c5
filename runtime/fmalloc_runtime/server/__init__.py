"""The server process: sockets, checks before it starts, and Ray Serve."""
