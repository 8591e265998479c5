"""Corrections that the model itself finds wrong: measured by what it thinks of trusted translations of the domain."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus import Pair
from fmalloc.corpus.report import Tally

Losses = Callable[[Sequence[Pair]], NDArray[np.float64]]
# Of trusted pairs, so many are allowed to look worse than what is refused.
_STRANGE = 0.01
_UNLIKELY = "far less likely than any translation of the domain"
_UNRELATED = "no more likely after its source than after another's"
_LONG = "too long for the model"


def sift(losses: Losses, corrections: Sequence[Pair], trusted: Sequence[Pair], tally: Tally) -> tuple[Pair, ...]:
    """The corrections that are as likely as translations go; the others are counted by reason.

    losses: of pairs, nats per target token (NaN: too long), by the model that is corrected. A correction is refused if
    its loss is above that of 99 in 100 trusted pairs, or if its target gains less by its own source, over the source of
    another pair, than that of 99 in 100 trusted pairs does. The first finds what is no sentence of the language, the
    second translations of something else.
    """
    if not corrections:
        return ()
    known, gains = _measured(losses, trusted)
    most, least = np.nanquantile(known, 1 - _STRANGE), np.nanquantile(gains, _STRANGE)
    kept = []
    for pair, loss, gain in zip(corrections, *_measured(losses, corrections, trusted), strict=True):
        reason = _LONG if np.isnan(loss) else _UNLIKELY if loss > most else _UNRELATED if gain < least else None
        if reason is None:
            kept.append(pair)
        else:
            tally.drop(reason)
    return tuple(kept)


def _measured(
    losses: Losses, pairs: Sequence[Pair], others: Sequence[Pair] = ()
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Loss of each pair, and how much larger it is with the source of another one of `others`, or of the pairs."""
    sources = [pair.source for pair in others or pairs]
    shift = max(1, len(sources) // 2)
    wrong = [Pair(sources[(place + shift) % len(sources)], pair.target) for place, pair in enumerate(pairs)]
    own = losses(pairs)
    return own, losses(wrong) - own
