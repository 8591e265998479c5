"""Colours: one look per domain, the same in every picture, and the shades of heat maps.

A look is a colour, and a hatch and dashes where colours repeat. The colours are told apart with any colour vision, and
neighbours differ in lightness, so that grey paper does too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_COLOURS = ("#0067a5", "#e69a1f", "#0d6b3a", "#d36ba0", "#36258a", "#4fa8d1", "#85224f", "#97972f")
_DASHES = ("", "5 2", "1.5 2", "8 2 2 2")
_GENERAL = "#8a9499"
_FREE, _RESERVED = "#ffffff", "#e3e8ea"
INK, MUTED = "#1a2225", "#546066"
FREE = "free"
RESERVED = "reserved for others"

_STOPS = ((0xFF, 0xFF, 0xFF), (0xC3, 0xDD, 0xEE), (0x5B, 0x9F, 0xCC), (0x0B, 0x4F, 0x8A))
_LIGHT_TEXT_FROM = 0.76
_BEST = 0.6
_LEAST_SPAN = 0.1


@dataclass(frozen=True)
class Look:
    """Stroke colour, stroke-dasharray and fill of a domain; `hatch` is the id of the pattern that fills, if any."""

    colour: str
    dash: str = ""
    hatch: str | None = None
    fill: str = ""

    @property
    def angle(self) -> int:
        """Of the hatch, in degrees."""
        return 45 if self.dash == _DASHES[1] else -45


class Palette:
    """The looks of general, of the domains in the order of learning, of free cells and of those of other parts."""

    def __init__(self, general: str, domains: Sequence[str]) -> None:
        self._looks = {general: Look(_GENERAL, fill=_GENERAL), FREE: Look(MUTED, fill=_FREE)}
        self._looks[RESERVED] = Look(MUTED, fill=_RESERVED)
        for index, domain in enumerate(domains):
            round_, colour = index // len(_COLOURS), _COLOURS[index % len(_COLOURS)]
            hatch = f"hatch-{index}" if round_ else None
            fill = f"url(#{hatch})" if hatch else colour
            self._looks[domain] = Look(colour, _DASHES[round_ % len(_DASHES)], hatch, fill)

    def __getitem__(self, domain: str) -> Look:
        return self._looks[domain]

    def sorted(self, domains: Iterable[str]) -> list[str]:
        """The domains, each once, in the order of learning."""
        found = set(domains)
        return [domain for domain in self._looks if domain in found]

    def hatched(self) -> list[Look]:
        """The looks whose pattern the page has to define."""
        return [look for look in self._looks.values() if look.hatch]


def shade(level: float) -> str:
    """The CSS of a cell at `level`, 0 (white) to 1 (dark): one hue, so that it reads the same in grey, and its text."""
    level = min(1.0, max(0.0, level))
    place = level * (len(_STOPS) - 1)
    index = min(int(place), len(_STOPS) - 2)
    mixed = (round(a + (b - a) * (place - index)) for a, b in zip(_STOPS[index], _STOPS[index + 1], strict=True))
    text = "#fff" if level > _LIGHT_TEXT_FROM else INK
    return f"background:#{''.join(f'{part:02x}' for part in mixed)};color:{text}"


def levels(values: Sequence[float | None], *, lower_is_better: bool = False) -> list[float | None]:
    """A level for each value, the higher the nearer to the best one.

    They reach down to white at the worst value, or at a tenth below the best one if all are nearer than that: small
    differences must look small.
    """
    known = [value for value in values if value is not None]
    if not known:
        return [None for _ in values]
    best = min(known) if lower_is_better else max(known)
    span = max(max(known) - min(known), _LEAST_SPAN * abs(best)) or 1.0
    return [None if value is None else _BEST * (1 - abs(best - value) / span) for value in values]
