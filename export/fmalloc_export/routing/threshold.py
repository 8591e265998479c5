"""The threshold on the posterior that loses least: the router simulated on held-out documents of every domain.

A document that is sent to the wrong domain loses the difference between the quality of its own domain's model and that
of the chosen one, both on its own domain's text. Decisions at each threshold follow from the posteriors alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fmalloc_runtime.routing.costs import Expected, Simulation
from fmalloc_runtime.routing.router import THRESHOLD, Router

# Weight of documents by their number of lines: single sentences, paragraphs and pages count alike.
WEIGHTS: Mapping[int, float] = {1: 1 / 3, 3: 1 / 3, 10: 1 / 3}
_MOST_DOCUMENTS = 500
_STANDARD_ERRORS = 2
_GRID = np.arange(0, 100) / 100

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Documents:
    """Held-out documents as the router sees them; all arrays have the shape (documents,).

    `text`: index of the document's own domain. `best`: index of the likeliest domain. `score`: its posterior.
    `weight`: sums to 1, with the same share for every domain.
    """

    text: NDArray[np.int64]
    best: NDArray[np.int64]
    score: Floats
    weight: Floats

    @classmethod
    def of(cls, router: Router, texts: Mapping[str, Sequence[str]]) -> "Documents":
        """Cut each domain's lines into documents of 1, 3 and 10 lines, and score them."""
        text: list[int] = []
        posteriors: list[Floats] = []
        weights: list[float] = []
        for index, domain in enumerate(router.domains):
            cut = {lines: found for lines in WEIGHTS if (found := _documents(texts[domain], lines))}
            known = sum(WEIGHTS[lines] for lines in cut)
            for lines, found in cut.items():
                text += [index] * len(found)
                posteriors += [router.posterior(document) for document in found]
                weights += [WEIGHTS[lines] / known / len(found) / len(router.domains)] * len(found)
        scores = np.stack(posteriors)
        return cls(np.array(text), scores.argmax(axis=1), scores.max(axis=1), np.array(weights))

    def __len__(self) -> int:
        return len(self.text)


def choose_threshold(documents: Documents, costs: Floats, general: int | None) -> tuple[float, Simulation]:
    """The threshold that loses least, and the expected losses of it and of its alternatives.

    `costs` (texts, models): points that text of one domain loses with another's model. `general`: index of the domain
    for documents below the threshold; None if it is not live. Of the thresholds within two standard errors of the
    least loss, the one nearest to the default is chosen: smaller differences may be chance.
    """
    losses = np.stack([_losses(documents, costs, general, threshold) for threshold in _GRID])
    expected = losses @ documents.weight
    least = losses[int(expected.argmin())]
    more = losses - least
    mean = more @ documents.weight
    error = np.sqrt((documents.weight**2 * (more - mean[:, None]) ** 2).sum(axis=1))
    # 1e-9: what summing in another order may change.
    near = np.flatnonzero(mean <= _STANDARD_ERRORS * error + 1e-9)
    chosen = float(_GRID[min(near, key=lambda index: (abs(_GRID[index] - THRESHOLD), expected[index]))])

    def at(threshold: float) -> float:
        return round(float(_losses(documents, costs, general, threshold) @ documents.weight), 4)

    return chosen, Simulation(
        weights={str(lines): weight for lines, weight in WEIGHTS.items()},
        documents=len(documents),
        default=THRESHOLD,
        expected=Expected(
            zero=at(0.0),
            default=at(THRESHOLD),
            chosen=at(chosen),
            always_general=None if general is None else round(float(costs[:, general].mean()), 4),
            oracle=round(float(costs.min(axis=1).mean()), 4),
        ),
    )


def _losses(documents: Documents, costs: Floats, general: int | None, threshold: float) -> Floats:
    chosen = documents.best
    if general is not None:
        chosen = np.where(documents.score < threshold, general, chosen)
    return np.asarray(costs[documents.text, chosen], dtype=np.float64)


def _documents(lines: Sequence[str], length: int) -> list[Sequence[str]]:
    """Evenly spaced documents of `length` consecutive lines, without overlap; none if there are too few lines."""
    starts = range(0, len(lines) - length + 1, length)
    count = min(len(starts), _MOST_DOCUMENTS)
    return [lines[start : start + length] for start in (starts[i * len(starts) // count] for i in range(count))]
