"""Shades of a heat map: one hue from white to dark, so that it reads the same in grey."""

from collections.abc import Sequence

_STOPS = ((0xFF, 0xFF, 0xFF), (0xC3, 0xDD, 0xEE), (0x5B, 0x9F, 0xCC), (0x0B, 0x4F, 0x8A))
_LIGHT_TEXT_FROM = 0.76
_BEST = 0.6
_LEAST_SPAN = 0.1


def shade(level: float) -> str:
    """The CSS of a cell at `level`, 0 (white) to 1 (dark), with a text colour that stays readable."""
    level = min(1.0, max(0.0, level))
    place = level * (len(_STOPS) - 1)
    index = min(int(place), len(_STOPS) - 2)
    mixed = (round(a + (b - a) * (place - index)) for a, b in zip(_STOPS[index], _STOPS[index + 1], strict=True))
    text = "#fff" if level > _LIGHT_TEXT_FROM else "#1a2225"
    return f"background:#{''.join(f'{part:02x}' for part in mixed)};color:{text}"


def levels(values: Sequence[float | None], *, less_is_better: bool = False) -> list[float | None]:
    """A level for each value, the higher the nearer to the best one.

    They reach down to white at the worst value, or at a tenth below the best one if all are nearer than that: what
    hardly differs has to look so.
    """
    known = [value for value in values if value is not None]
    if not known:
        return [None for _ in values]
    best = min(known) if less_is_better else max(known)
    span = max(max(known) - min(known), _LEAST_SPAN * abs(best)) or 1.0
    return [None if value is None else _BEST * (1 - abs(best - value) / span) for value in values]
