"""Compiled domains as a model repository of NVIDIA Triton."""

from fmalloc_export.triton.options import TritonOptions
from fmalloc_export.triton.repository import write_triton_repository

__all__ = ["TritonOptions", "write_triton_repository"]
