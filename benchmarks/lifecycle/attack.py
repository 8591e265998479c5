"""Membership inference: can a model's losses tell the pairs that it learned from others of the same kind?

    loss threshold    -NLL of a pair by the model (Yeom et al. 2018)
    likelihood ratio  NLL of a pair by the reference model less that by the model (Carlini et al. 2022, one reference)

The AUC is the chance that a pair that was learned has the higher score; 0.5 is guessing.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_DRAWS = 1000


def auc(members: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Of scores, by ranks, ties counted half (Mann and Whitney); NaN are left out."""
    members, others = members[~np.isnan(members)], others[~np.isnan(others)]
    ordered = np.sort(others)
    below, up_to = np.searchsorted(ordered, members, "left"), np.searchsorted(ordered, members, "right")
    return float((below + up_to).mean() / 2 / len(others))


def attack(members: NDArray[np.float64], others: NDArray[np.float64], seed: int = 1) -> dict[str, Any]:
    """The AUC, and the middle 95 % of bootstrap draws of both sides."""
    draw = np.random.default_rng(seed)
    drawn = [auc(draw.choice(members, len(members)), draw.choice(others, len(others))) for _ in range(_DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"auc": round(auc(members, others), 4), "interval": [round(float(low), 4), round(float(high), 4)]}
