"""trim-vocabulary: keep the target tokens that the domain writes, and a safety set.

The output projection has a row per target token: half of the work of translating with a vocabulary of 60,000. Trimmed
tokens can no longer be written as one; the safety set allows to spell them in smaller pieces.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fmalloc_export.domain.model import DomainModel

# If more than this share of the tokens stays, the projection gets hardly faster, and a base with one embedding for both
# sides would need a second one for the trimmed side.
_WORTHWHILE = 0.8


@dataclass(frozen=True)
class TrimVocabulary:
    """Afterwards only those `target_tokens` are left that are in `used` or `safety` (ids), if that is worth it.

    `counts` int64 (vocabulary,): how often held-out text uses each token; for the report on coverage.
    """

    used: NDArray[np.int64]
    safety: NDArray[np.int64]
    counts: NDArray[np.int64]
    name: str = "trim-vocabulary"
    exact: bool = False

    def explain(self, model: DomainModel) -> str:
        """How many tokens would be left."""
        kept = len(self._kept(model))
        if kept > _WORTHWHILE * len(model.target_tokens):
            return (
                f"does not apply: the domain needs {kept} of {len(model.target_tokens)} target tokens, "
                f"and trimming pays from {1 - _WORTHWHILE:.0%} fewer on"
            )
        return f"would keep {kept} of {len(model.target_tokens)} target tokens; the others can no longer be written"

    def apply(self, model: DomainModel) -> tuple[DomainModel, str]:
        """Shorten the list of target tokens."""
        kept = self._kept(model)
        if len(kept) > _WORTHWHILE * len(model.target_tokens):
            return model, self.explain(model)
        text = len(np.intersect1d(kept, self.used))
        total = int(self.counts[model.target_tokens].sum())
        covered = f"{self.counts[kept].sum() / total:.2%} of" if total else "no"
        return replace(model, target_tokens=kept), (
            f"kept {len(kept)} of {len(model.target_tokens)} target tokens ({text} of the domain's text, "
            f"{len(kept) - text} for safety); they cover {covered} held-out target tokens"
        )

    def _kept(self, model: DomainModel) -> NDArray[np.int64]:
        return np.intersect1d(model.target_tokens, np.union1d(self.used, self.safety))
