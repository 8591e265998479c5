"""The compiler's options, checked on construction."""

from dataclasses import dataclass
from typing import Literal

from fmalloc_shared.errors import FmallocError

Level = Literal["O0", "O1", "O2"]
LEVELS: tuple[Level, ...] = ("O0", "O1", "O2")
MAXIMUM_BLEU_DROP = 0.3


@dataclass(frozen=True)
class Options:
    """What to compile for, and how far.

    `keep`: share of the cells that compact-cells leaves (O2); None finds the smallest that loses at most
    `max_bleu_drop` points of BLEU, and of chrF, on held-out pairs. `vocabulary`: the most target tokens (O1, O2).
    Raises FmallocError, on construction, for values that contradict each other or are out of range.
    """

    engine: str = "ctranslate2"
    quantization: str = "float32"
    level: Level = "O0"
    keep: float | None = None
    max_bleu_drop: float = MAXIMUM_BLEU_DROP
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        if self.keep is not None and self.level != "O2":
            raise FmallocError(f"keep {self.keep}: cells are compacted at -O2 only, this is -{self.level}")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise FmallocError(f"keep {self.keep}: expected a share above 0, at most 1")
        if self.vocabulary is not None and self.level == "O0":
            raise FmallocError(f"vocabulary {self.vocabulary}: target tokens are trimmed at -O1 and -O2 only")
        if self.vocabulary is not None and self.vocabulary < 1:
            raise FmallocError(f"vocabulary {self.vocabulary}: expected 1 token or more")
        if not self.max_bleu_drop >= 0:
            raise FmallocError(f"max BLEU drop {self.max_bleu_drop}: expected 0 or more")
