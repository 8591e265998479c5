"""A cost record of two domains, as tests of routing want it."""

import json
from pathlib import Path
from typing import Any

from fmalloc_runtime.routing.costs import ROUTING_COSTS_FILE

NAMES = {"general": "general@0123456789ab", "it": "it@0123456789ab"}


def record(**changes: Any) -> dict[str, Any]:
    """A routing.json of two domains."""
    return {
        "version": 1,
        "threshold": 0.45,
        "metric": "chrf",
        "bundles": NAMES,
        "texts": {domain: {"lines": 200, "digest": "0" * 64} for domain in NAMES},
        "matrix": {
            "general": {"general": {"bleu": 20.0, "chrf": 50.0}, "it": {"bleu": 10.0, "chrf": 30.0}},
            "it": {"general": {"bleu": 8.0, "chrf": 25.0}, "it": {"bleu": 30.0, "chrf": 60.0}},
        },
        "beam_size": 4,
        "signatures": {"bleu": "nrefs:1", "chrf": "nrefs:1"},
        "simulation": {
            "weights": {"1": 0.5, "10": 0.5},
            "documents": 40,
            "default": 0.6,
            "expected": {"zero": 1.0, "default": 0.8, "chosen": 0.7, "always_general": 15.0, "oracle": 0.0},
        },
        **changes,
    }


def write(directory: Path, content: object) -> Path:
    path = directory / ROUTING_COSTS_FILE
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path
