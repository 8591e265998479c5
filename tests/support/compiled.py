"""Domains of a store, compiled."""

from fmalloc.store.store import Store
from fmalloc_export.compiler import Compiled, compile_at
from fmalloc_export.domain.domain import Domain
from fmalloc_export.options import Options
from fmalloc_runtime.bundle.bundle import Parity


def compile_domain(store: Store, name: str, quantization: str = "float32", engine: str = "ctranslate2") -> Compiled:
    """A domain at -O0."""
    return compile_at(Domain.load(store, name), Options(quantization=quantization, engine=engine))


def tokens_agree(parity: Parity) -> bool:
    """In all sentences, but for one at most, where two hypotheses tie and the processor's last bits decide."""
    sentences = parity.real_sentences + parity.random_sentences
    return min(parity.identical.model_dump().values()) >= sentences - 1
