"""The HTTP server: one module a dialect, over one service."""
