"""The smallest share of cells that costs no more quality than allowed."""

from collections.abc import Callable

_STEPS = 16


def smallest(drop: Callable[[float], float], maximum: float) -> float:
    """Bisect over sixteenths; `drop(keep)` is the quality lost, taken to fall as `keep` rises.

    Returns 1 where every smaller share loses more than `maximum`.
    """
    low, high = 0, _STEPS
    while high - low > 1:
        middle = (low + high) // 2
        if drop(middle / _STEPS) <= maximum:
            high = middle
        else:
            low = middle
    return high / _STEPS
