"""The smallest share of the cells that keeps the bound on quality.

The search follows a measure without noise (see divergence.py). What a nat of it costs in BLEU or chrF on this domain is
gauged on a model that has so few cells that it loses far more than chance could: the loss grows about in proportion to
the divergence. The share that is found is confirmed by the scores of the emitted model; if they fall by more than the
bound, half the divergence is allowed, and so on.
"""

from collections.abc import Callable

# Shares are tried to this fineness.
_STEPS = 64
# Shares to gauge on, and how many times the bound a model must lose to be certain of it.
_GAUGED = (1 / 2, 1 / 4, 1 / 8)
_CERTAIN = 10
# The part of the bound that is aimed at: a model that loses just the bound would be refused every other time by chance.
_AIM = 0.7
_TRIALS = 3


def smallest_share(divergence: Callable[[float], float], drop: Callable[[float], float], bound: float) -> float:
    """The smallest share that loses at most `bound`, or 1.

    `divergence(keep)`: nats lost with the share `keep`, which fall as it rises. `drop(keep)`: points of BLEU or chrF
    lost, whichever is more, as the emitted model's translations have it. Each is asked again for the same share.
    """
    allowed = _AIM * bound / _price(divergence, drop, bound)
    for _ in range(_TRIALS):
        keep = _smallest(divergence, allowed)
        if keep == 1 or drop(keep) <= bound:
            return keep
        allowed = min(allowed, divergence(keep)) / 2
    return 1.0


def _price(divergence: Callable[[float], float], drop: Callable[[float], float], bound: float) -> float:
    """Points lost per nat; as good as none if even an eighth of the cells loses nothing."""
    for keep in _GAUGED:
        lost = drop(keep)
        if lost >= _CERTAIN * bound:
            break
    return max(lost / max(divergence(keep), 1e-9), 1e-9)


def _smallest(divergence: Callable[[float], float], allowed: float) -> float:
    """By bisection: the smallest share with at most `allowed` nats, or 1."""
    low, high = 0, _STEPS
    while high - low > 1:
        middle = (low + high) // 2
        if divergence(middle / _STEPS) <= allowed:
            high = middle
        else:
            low = middle
    return high / _STEPS
