"""Templates of the page, and numbers as they write them; what comes from a store is escaped and cannot be markup."""

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fmalloc.report.drawing.palette import MUTED, shade

NOTHING = "–"


def render(template: str, **values: object) -> Markup:
    """The markup of a template in `templates/`; a value that it lacks is an error."""
    return Markup(_TEMPLATES.get_template(f"{template}.html").render(values))


def number(value: float | None, decimals: int = 2) -> str:
    """A number with thousands apart; never a negative zero."""
    return NOTHING if value is None else f"{_rounded(value, decimals):,.{decimals}f}"


def whole(value: int | None) -> str:
    """A count with thousands apart."""
    return NOTHING if value is None else f"{value:,}"


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


def place(value: float) -> str:
    """A coordinate in a picture, to a hundredth, without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _rounded(value: float, decimals: int) -> float:
    return round(value, decimals) + 0.0


_TEMPLATES = Environment(
    loader=PackageLoader("fmalloc.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {filter_.__name__: filter_ for filter_ in (number, part_of, percent, place, shade, signed, whole)}
_TEMPLATES.globals |= {"MUTED": MUTED, "NOTHING": NOTHING}
