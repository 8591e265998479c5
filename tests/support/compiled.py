"""Domains of a store, compiled for CTranslate2."""

from fmalloc.store.store import Store
from fmalloc_export.compiler import Compiled, compile_at
from fmalloc_export.domain.domain import Domain
from fmalloc_export.options import Options


def compile_domain(store: Store, name: str, quantization: str = "float32") -> Compiled:
    """A domain at -O0."""
    return compile_at(Domain.load(store, name), Options(quantization=quantization))
