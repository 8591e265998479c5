"""Compiled domains as a model repository of NVIDIA Triton."""
