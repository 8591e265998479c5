"""Numbers as text; what is not known is a dash."""

NOTHING = "–"


def number(value: float | None, decimals: int = 2) -> str:
    """A number with thousands apart; never a negative zero."""
    return NOTHING if value is None else f"{_rounded(value, decimals):,.{decimals}f}"


def signed(value: float | None, decimals: int = 2) -> str:
    """A difference with its sign; none for zero."""
    if value is None:
        return NOTHING
    found = _rounded(value, decimals)
    return f"{found:+,.{decimals}f}".replace("-", "−") if found else number(0.0, decimals)


def percent(share: float | None, decimals: int = 1) -> str:
    """A share of 1 as a percentage."""
    return NOTHING if share is None else f"{number(100 * share, decimals)}\u00a0%".replace("-", "−")


def part_of(count: int, total: int) -> str:
    """A share as a percentage in which 0 and 100 mean exactly that."""
    if count in (0, total):
        return f"{100 * count // max(1, total)}\u00a0%"
    tenths = min(999, max(1, round(1000 * count / total)))
    return f"{tenths / 10:.1f}\u00a0%"


def _rounded(value: float, decimals: int) -> float:
    return round(value, decimals) + 0.0
