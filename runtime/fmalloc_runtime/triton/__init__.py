"""Models of NVIDIA Triton's Python backend: one for each domain, and one that routes between them."""
