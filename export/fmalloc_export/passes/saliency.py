"""Which cells a layer can lose, and how the others make up for them: least squares on calibration activations.

With a (positions, width) the centred activations and v (width, d) the cells' values, a layer adds a v + constant. Let
cells R go and let D be added to the values of those kept, K, so that |a_R v_R - a_K D|^2 + ridge |D|^2 is smallest:

    D = (C_KK + ridge I)^-1 C_KR v_R,        C = a^T a / positions.

The cells to remove are found by Optimal Brain Surgeon (Hassibi and Stork, 1993) over whole cells: with
P = (C + ridge I)^-1, removing cell i and adjusting the others costs |v_i|^2 / P_ii. The cheapest cell is removed, P and
v are updated, and so on, until none is left: one run ranks the cells for every number that may be kept. All in float64.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# In units of the mean variance of a cell. Enough to keep the inverse well-conditioned where cells are alike.
_RIDGE = 1e-3
# Cells removed between two updates of the whole inverse, and those among which they are chosen.
_BLOCK, _POOL = 32, 96


@dataclass(frozen=True)
class Moments:
    """Mean (width,) and covariance (width, width) of a layer's activations."""

    mean: Array
    covariance: Array

    @property
    def ridge(self) -> float:
        """The ridge added to the diagonal; positive even if no cell ever fires."""
        return float(_RIDGE * np.trace(self.covariance) / len(self.mean)) or 1.0


@dataclass
class MomentSums:
    """Sums over positions from which moments follow; activations come in batches and are not kept."""

    width: int

    def __post_init__(self) -> None:
        self._positions = 0
        self._sum = np.zeros(self.width)
        self._products = np.zeros((self.width, self.width))

    def add(self, activations: NDArray[np.float32]) -> None:
        """Float32 (positions, width). Products of one batch are summed in float32, batches in float64."""
        self._positions += len(activations)
        self._sum += activations.sum(axis=0, dtype=np.float64)
        self._products += activations.T @ activations

    def moments(self) -> Moments:
        """Of all that was added."""
        mean = self._sum / max(1, self._positions)
        return Moments(mean, self._products / max(1, self._positions) - np.outer(mean, mean))


class Fit(NamedTuple):
    """Values (kept, d) and bias (d,) of the kept cells, and the share of the outputs' variance that is lost."""

    values: Array
    bias: Array
    lost_variance: float


@dataclass(frozen=True)
class Ranking:
    """The cells of a layer in the order in which they can go.

    `order` int64 (width,): the first goes first. `losses` (width + 1,): the variance over all dimensions that the
    layer's outputs lose with 0, 1, … width cells; it never rises.
    """

    moments: Moments
    order: NDArray[np.int64]
    losses: Array

    @classmethod
    def of(cls, moments: Moments, values: Array) -> "Ranking":
        """Eliminate one cell after another; `values` (width, d)."""
        order, costs = _eliminate(moments, values)
        return cls(moments, order, np.append(np.cumsum(costs)[::-1], 0.0))

    def kept(self, count: int) -> NDArray[np.int64]:
        """The `count` cells that go last, ascending."""
        return np.sort(self.order[len(self.order) - count :])


def _eliminate(moments: Moments, values: Array) -> tuple[NDArray[np.int64], Array]:
    """Indices in the order of removal, and what each removal adds to the mean squared error."""
    alive: NDArray[np.int64] = np.arange(len(values))
    inverse: NDArray[np.floating] = np.linalg.inv(moments.covariance + moments.ridge * np.eye(len(values)))
    adjusted: NDArray[np.floating] = values.copy()
    order, costs = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    while len(alive):
        gone, paid = _cheapest(inverse, adjusted, min(_BLOCK, len(alive)))
        order.append(alive[gone])
        costs.append(paid)
        rest = np.setdiff1d(np.arange(len(alive)), gone)
        across = inverse[np.ix_(rest, gone)]
        solved = np.linalg.solve(inverse[np.ix_(gone, gone)], np.hstack([across.T, adjusted[gone]]))
        adjusted = adjusted[rest] - across @ solved[:, len(rest) :]
        inverse = inverse[np.ix_(rest, rest)] - across @ solved[:, : len(rest)]
        alive = alive[rest]
    return np.concatenate(order), np.concatenate(costs)


def _cheapest(
    inverse: NDArray[np.floating], values: NDArray[np.floating], number: int
) -> tuple[NDArray[np.int64], Array]:
    """The next cells to remove, chosen one by one from the pool of the cheapest, and their costs."""
    costs = (values**2).sum(axis=1) / np.diag(inverse)
    pool = np.sort(np.argsort(costs, kind="stable")[:_POOL])
    inverse, values = inverse[np.ix_(pool, pool)], values[pool]
    chosen = np.zeros(len(pool), dtype=np.bool_)
    order, paid = [], []
    for _ in range(min(number, len(pool))):
        costs = (values**2).sum(axis=1) / np.maximum(np.diag(inverse), np.finfo(np.float64).tiny)
        cell = int(np.argmin(np.where(chosen, np.inf, costs)))
        chosen[cell] = True
        order.append(cell)
        paid.append(costs[cell])
        column = inverse[:, cell] / inverse[cell, cell]
        values = values - np.outer(column, values[cell])
        inverse = inverse - np.outer(column, inverse[cell])
    return pool[order], np.array(paid)


def refit(moments: Moments, values: Array, bias: Array, kept: NDArray[np.int64]) -> Fit:
    """Fit the cells `kept` (indices) to make up for the others; `values` (width, d), `bias` (d,)."""
    gone = np.setdiff1d(np.arange(len(values)), kept)
    covariance = moments.covariance
    among = covariance[np.ix_(kept, kept)] + moments.ridge * np.eye(len(kept))
    added = np.linalg.solve(among, covariance[np.ix_(kept, gone)] @ values[gone])
    change = np.zeros_like(values)
    change[kept], change[gone] = added, -values[gone]
    variance, lost = _variance(moments, values), _variance(moments, change)
    return Fit(values[kept] + added, bias - moments.mean @ change, lost / variance if variance else 0.0)


def _variance(moments: Moments, values: Array) -> float:
    """Of what cells with these values add, over all dimensions."""
    return float(((moments.covariance @ values) * values).sum())
