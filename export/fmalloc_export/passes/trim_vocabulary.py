"""trim-vocabulary: keep the target tokens that the domain writes, and a safety set.

The output projection has a row for each target token, and at a vocabulary of 60,000 it is half of the work of
translating. What is trimmed can no longer be written as one token; the safety set lets it be spelled in smaller pieces.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fmalloc_export.domain.model import DomainModel

# Above this share of the tokens the projection gets hardly faster, and a base that has one embedding for both sides
# needs a second one for the trimmed side.
_WORTHWHILE = 0.8


@dataclass(frozen=True)
class TrimVocabulary:
    """Afterwards `target_tokens` are those of `used` and `safety` (ids) that were there before, if that is worth it.

    `counts` int64 (vocabulary,): how often text that was held out uses each token; for the report on coverage.
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
        return f"would keep {kept} of {len(model.target_tokens)} target tokens; the others cannot be written any more"

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
