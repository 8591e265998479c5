"""The HTTP app: one module per dialect, on one service."""
