"""What the router's n-grams can tell at most: a linear classifier that is trained on the sentences themselves.

The router has only counts; this has every sentence with its domain, and is retrained for each set of domains. So it is
no router for a store, but a bound for one that reads the same n-grams.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmalloc_runtime.routing.router import WEIGHTS
from fmalloc_shared.ngrams import BUCKETS, grams, hashed

_EPOCHS, _BATCH, _RATE = 6, 256, 0.3

Texts = Mapping[str, Sequence[str]]
_Buckets = NDArray[np.int64]


def measure_linear(train: Texts, dev: Texts, test: Texts, document_lines: Sequence[int]) -> dict[str, Any]:
    """Accuracy by lines per document, on `test`, after the epoch that is best by one line on `dev`."""
    torch.manual_seed(1)
    labels = {domain: label for label, domain in enumerate(sorted(train))}
    sentences = [(_buckets(line), labels[domain]) for domain, lines in train.items() for line in lines]
    rarity = torch.tensor([1 / len(train[domain]) for domain in labels])
    held_out = {name: _all_buckets(texts) for name, texts in (("dev", dev), ("test", test))}
    model = torch.nn.EmbeddingBag(BUCKETS, len(labels), mode="sum")
    torch.nn.init.zeros_(model.weight)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=_RATE)
    draw, best = np.random.default_rng(1), (0.0, dict[str, float]())
    for _ in range(_EPOCHS):
        for batch in np.array_split(draw.permutation(len(sentences)), max(1, len(sentences) // _BATCH)):
            chosen = [sentences[index] for index in batch]
            target = torch.tensor([label for _, label in chosen])
            loss = torch.nn.functional.cross_entropy(_scores(model, [line for line, _ in chosen]), target, rarity)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        on_dev = _accuracy(model, held_out["dev"], labels, 1)
        if on_dev > best[0]:
            best = on_dev, {str(lines): _accuracy(model, held_out["test"], labels, lines) for lines in document_lines}
    return {"epochs": _EPOCHS, "dev_by_line": best[0], "test": best[1]}


def _buckets(line: str) -> _Buckets:
    return np.array([bucket for kind in grams(line, WEIGHTS) for bucket in hashed(kind)] or [0], dtype=np.int64)


def _all_buckets(texts: Texts) -> dict[str, list[_Buckets]]:
    return {domain: [_buckets(line) for line in lines] for domain, lines in texts.items()}


def _scores(model: torch.nn.EmbeddingBag, lines: Sequence[_Buckets]) -> torch.Tensor:
    """(lines, domains): as in the router, divided by the root of how many n-grams a line has."""
    counts = np.array([len(line) for line in lines])
    weights = torch.from_numpy(np.repeat(counts**-0.5, counts)).float()
    begins = torch.from_numpy(np.cumsum(counts) - counts)
    found: torch.Tensor = model(torch.from_numpy(np.concatenate(lines)), begins, per_sample_weights=weights)
    return found


def _accuracy(
    model: torch.nn.EmbeddingBag, texts: Mapping[str, Sequence[_Buckets]], labels: Mapping[str, int], count: int
) -> float:
    """Of documents of `count` lines in a row."""
    right = []
    with torch.inference_mode():
        for domain, lines in texts.items():
            scores = _scores(model, lines).log_softmax(-1)
            whole = scores[: len(lines) // count * count].reshape(-1, count, scores.shape[1])
            right += (whole.sum(1).argmax(-1) == labels[domain]).tolist()
    return round(float(np.mean(right)), 4)
