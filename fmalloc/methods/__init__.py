"""The methods that learn domains in sequence, behind one protocol; each is imported on first use."""

from importlib import import_module
from typing import TYPE_CHECKING

from fmalloc_shared.errors import FmallocError

if TYPE_CHECKING:
    from fmalloc.methods.method import Method

METHODS = {
    "single": "fmalloc.methods.sequential:Single",
    "sequential": "fmalloc.methods.sequential:Sequential",
    "mixed": "fmalloc.methods.sequential:Mixed",
    "l2": "fmalloc.methods.ewc:L2",
    "ewc": "fmalloc.methods.ewc:Ewc",
    "kd": "fmalloc.methods.kd:Kd",
    "dynamic-kd": "fmalloc.methods.kd:DynamicKd",
    "lora": "fmalloc.methods.lora:Lora",
    "adapter": "fmalloc.methods.adapter:Adapter",
    "hft": "fmalloc.methods.hft:Hft",
    "k-fpf": "fmalloc.methods.kfpf:KFpf",
    "pte": "fmalloc.methods.pte:Pte",
    "sparse-memory": "fmalloc.methods.sparse_memory:SparseMemory",
    "fmalloc": "fmalloc.methods.fmalloc:Fmalloc",
    "fmalloc-exclusive": "fmalloc.methods.fmalloc:FmallocExclusive",
    "fmalloc-tfidf": "fmalloc.methods.fmalloc:FmallocTfidf",
    "fmalloc-private": "fmalloc.methods.fmalloc:FmallocPrivate",
}


def method_of(name: str) -> "type[Method]":
    """The class of a method; raise FmallocError that lists the methods if there is none of that name."""
    if name not in METHODS:
        raise FmallocError(f"method {name!r}: unknown, expected one of {', '.join(METHODS)}")
    module, _, attribute = METHODS[name].partition(":")
    found: type[Method] = getattr(import_module(module), attribute)
    return found
