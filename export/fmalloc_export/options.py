"""The compiler's options, checked on construction."""

from dataclasses import dataclass
from typing import Literal

from fmalloc_shared.errors import FmallocError

Level = Literal["O0", "O1", "O2", "O3"]
LEVELS: tuple[Level, ...] = ("O0", "O1", "O2", "O3")
# Levels that keep a share of the cells.
_COMPACTED = ("O2", "O3")
# Points that levels above -O0 may cost where nothing else is said.
MAXIMUM_QUALITY_DROP = 0.3
# Beams that a bundle may have for its own.
_WIDEST = 64
# BLEU and chrF range from 0 to this.
_SCALE = 100


@dataclass(frozen=True)
class Options:
    """What to compile for, and how far.

    `keep`: share of the cells that compact-cells leaves (O2, O3); None finds the smallest that stays within the bound.
    `max_quality_drop`: see `bound`. `allow_quality_drop`: publish also what loses more.
    `vocabulary`: the most target tokens (O1 and above). `beam_size`: what the bundle is to be searched with, and what
    quality is measured with; None: 4. `confidence`: calibrate the estimate of what needs editing.
    `memory`: pairs of source and target that the bundle is to hold as a translation memory. `glossary`: terms of the
    domain and how they are to be translated.
    Raises FmallocError, on construction, for values that contradict each other or are out of range.
    """

    engine: str = "ctranslate2"
    quantization: str = "float32"
    level: Level = "O0"
    keep: float | None = None
    max_quality_drop: float | None = None
    allow_quality_drop: bool = False
    vocabulary: int | None = None
    beam_size: int | None = None
    confidence: bool = True
    memory: tuple[tuple[str, str], ...] | None = None
    glossary: tuple[tuple[str, str], ...] | None = None

    def __post_init__(self) -> None:
        if self.keep is not None and not self.compacts:
            raise FmallocError(f"keep {self.keep}: cells are compacted at -O2 and -O3 only, this is -{self.level}")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise FmallocError(f"keep {self.keep}: expected a share above 0, at most 1")
        if self.vocabulary is not None and self.level == "O0":
            raise FmallocError(f"vocabulary {self.vocabulary}: target tokens are trimmed at -O1 and above only")
        if self.vocabulary is not None and self.vocabulary < 1:
            raise FmallocError(f"vocabulary {self.vocabulary}: expected 1 token or more")
        if self.beam_size is not None and not 1 <= self.beam_size <= _WIDEST:
            raise FmallocError(f"beam size {self.beam_size}: expected 1 to {_WIDEST}")
        if self.max_quality_drop is not None and not 0 <= self.max_quality_drop <= _SCALE:
            raise FmallocError(f"max quality drop {self.max_quality_drop}: expected 0 to {_SCALE} points")
        if self.allow_quality_drop and self.bound is None:
            raise FmallocError("allow quality drop: -O0 has no bound to exceed unless a max quality drop sets one")

    @property
    def compacts(self) -> bool:
        """Whether a share of the cells is left."""
        return self.level in _COMPACTED

    @property
    def bound(self) -> float | None:
        """Most points that compiling may cost on held-out pairs, in BLEU and in chrF; None: any number.

        -O0 leaves the model as it is, and what quantization costs is the engine's; it is bound only if asked for.
        """
        if self.max_quality_drop is None and self.level != "O0":
            return MAXIMUM_QUALITY_DROP
        return self.max_quality_drop
