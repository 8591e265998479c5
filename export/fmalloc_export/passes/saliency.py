"""Which cells a layer can lose, and how the others make up for them: least squares on calibration activations.

With a (positions, width) the centred activations and v (width, d) the cells' values, a layer adds a v + constant. Let
cells R go and let D be added to the values of those kept, K, so that |a_R v_R - a_K D|^2 + ridge |D|^2 is smallest:

    D = (C_KK + ridge I)^-1 C_KR v_R,        C = a^T a / positions.

The cells to remove are found by Optimal Brain Surgeon (Hassibi and Stork, 1993) over whole cells: with
P = (C + ridge I)^-1, removing cell i and adjusting the others costs |v_i|^2 / P_ii. The cheapest cell is removed, P and
v are updated, and so on. All in float64.
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
_ROWS = 4096


@dataclass(frozen=True)
class Moments:
    """Mean (width,) and covariance (width, width) of a layer's activations."""

    mean: Array
    covariance: Array

    @classmethod
    def of(cls, activations: NDArray[np.float32]) -> "Moments":
        """From float32 (positions, width), in blocks of rows to avoid a float64 copy of all."""
        positions, width = activations.shape
        mean = activations.mean(axis=0, dtype=np.float64)
        covariance = np.zeros((width, width))
        for start in range(0, positions, _ROWS):
            centred = activations[start : start + _ROWS] - mean
            covariance += centred.T @ centred
        return cls(mean, covariance / max(1, positions))

    @property
    def ridge(self) -> float:
        """The ridge added to the diagonal; positive even if no cell ever fires."""
        return float(_RIDGE * np.trace(self.covariance) / len(self.mean)) or 1.0


class Fit(NamedTuple):
    """Values (kept, d) and bias (d,) of the kept cells, and the share of the outputs' variance that is lost."""

    values: Array
    bias: Array
    lost_variance: float


class Elimination(NamedTuple):
    """`kept` (count,): indices, ascending. `costs` (removed,): what each removal added to the mean squared error."""

    kept: NDArray[np.int64]
    costs: Array


def eliminate(moments: Moments, values: Array, count: int) -> Elimination:
    """Remove the cheapest cell, one after another, until `count` are left; `values` (width, d)."""
    width = len(values)
    alive: NDArray[np.int64] = np.arange(width)
    inverse: NDArray[np.floating] = np.linalg.inv(moments.covariance + moments.ridge * np.eye(width))
    adjusted: NDArray[np.floating] = values.copy()
    costs = []
    while len(alive) > count:
        gone, paid = _cheapest(inverse, adjusted, min(_BLOCK, len(alive) - count))
        costs.append(paid)
        rest = np.setdiff1d(np.arange(len(alive)), gone)
        across = inverse[np.ix_(rest, gone)]
        solved = np.linalg.solve(inverse[np.ix_(gone, gone)], np.hstack([across.T, adjusted[gone]]))
        adjusted = adjusted[rest] - across @ solved[:, len(rest) :]
        inverse = inverse[np.ix_(rest, rest)] - across @ solved[:, : len(rest)]
        alive = alive[rest]
    return Elimination(alive, np.concatenate([np.zeros(0), *costs]))


def losses(moments: Moments, values: Array) -> Array:
    """(width + 1,): the share of its outputs' variance that a layer loses with 0, 1, … width cells; it never rises."""
    variance = np.einsum("id,ij,jd->", values, moments.covariance, values, optimize=True)
    costs = np.cumsum(eliminate(moments, values, 0).costs)[::-1]
    return np.concatenate([costs / variance if variance else np.zeros(len(values)), [0.0]])


def _cheapest(
    inverse: NDArray[np.floating], values: NDArray[np.floating], number: int
) -> tuple[NDArray[np.int64], Array]:
    """The next cells to remove, chosen one by one from the pool of the cheapest, and their costs."""
    costs = (values**2).sum(axis=1) / np.diag(inverse)
    pool = np.sort(np.argsort(costs, kind="stable")[:_POOL])
    inverse, values = inverse[np.ix_(pool, pool)], values[pool]
    chosen, paid = np.zeros(len(pool), dtype=np.bool_), []
    for _ in range(min(number, len(pool))):
        costs = (values**2).sum(axis=1) / np.maximum(np.diag(inverse), np.finfo(np.float64).tiny)
        cell = int(np.argmin(np.where(chosen, np.inf, costs)))
        chosen[cell] = True
        paid.append(costs[cell])
        column = inverse[:, cell] / inverse[cell, cell]
        values = values - np.outer(column, values[cell])
        inverse = inverse - np.outer(column, inverse[cell])
    return pool[chosen], np.array(paid)


def refit(moments: Moments, values: Array, bias: Array, kept: NDArray[np.int64]) -> Fit:
    """Fit the cells `kept` (indices) to make up for the others; `values` (width, d), `bias` (d,)."""
    gone = np.setdiff1d(np.arange(len(values)), kept)
    covariance = moments.covariance
    among = covariance[np.ix_(kept, kept)] + moments.ridge * np.eye(len(kept))
    added = np.linalg.solve(among, covariance[np.ix_(kept, gone)] @ values[gone])
    change = np.zeros_like(values)
    change[kept], change[gone] = added, -values[gone]
    variance = float(np.einsum("id,ij,jd->", values, covariance, values, optimize=True))
    lost = float(np.einsum("id,ij,jd->", change, covariance, change, optimize=True))
    return Fit(values[kept] + added, bias - moments.mean @ change, lost / variance if variance else 0.0)
