"""Models for NVIDIA Triton's Python backend: one per domain, and one that routes between them."""
