"""One look for each domain, the same in every picture: a colour, and a hatch and dashes where colours repeat.

The colours are told apart with any colour vision, and neighbours differ in lightness, so that grey paper does too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fmalloc.report.markup import Html, element

_COLOURS = ("#0067a5", "#e69a1f", "#0d6b3a", "#d36ba0", "#36258a", "#4fa8d1", "#85224f", "#97972f")
_DASHES = ("", "5 2", "1.5 2", "8 2 2 2")
_GENERAL = "#8a9499"
_FREE = "#ffffff"
INK, MUTED = "#1a2225", "#546066"
FREE = "free"


@dataclass(frozen=True)
class Look:
    """Stroke colour, stroke-dasharray and fill of a domain."""

    colour: str
    dash: str
    fill: str


class Palette:
    """The looks of general, of the domains in the order of learning, and of free cells."""

    def __init__(self, general: str, domains: Sequence[str]) -> None:
        self._looks = {general: Look(_GENERAL, "", _GENERAL), FREE: Look(MUTED, "", _FREE)}
        for index, domain in enumerate(domains):
            round_, colour = index // len(_COLOURS), _COLOURS[index % len(_COLOURS)]
            fill = colour if round_ == 0 else f"url(#hatch-{index})"
            self._looks[domain] = Look(colour, _DASHES[round_ % len(_DASHES)], fill)

    def __getitem__(self, domain: str) -> Look:
        return self._looks[domain]

    def sorted(self, domains: Iterable[str]) -> list[str]:
        """The domains, each once, in the order of learning."""
        found = set(domains)
        return [domain for domain in self._looks if domain in found]

    def patterns(self) -> Html:
        """The hatches that fills refer to; belongs once into the page."""
        hatches = []
        for look in self._looks.values():
            if look.fill.startswith("url(#"):
                band = element("rect", width=3, height=6, fill=look.colour)
                back = element("rect", width=6, height=6, fill=look.colour, fill_opacity=0.35)
                hatches.append(
                    element(
                        "pattern",
                        back,
                        band,
                        id=look.fill[5:-1],
                        width=6,
                        height=6,
                        patternUnits="userSpaceOnUse",
                        patternTransform=f"rotate({45 if look.dash == _DASHES[1] else -45})",
                    )
                )
        return element("svg", element("defs", *hatches), width=0, height=0, aria_hidden="true", class_="defs")

    def swatch(self, domain: str) -> Html:
        """A small square of the domain's fill."""
        look = self._looks[domain]
        square = element("rect", x=0.5, y=0.5, width=11, height=11, fill=look.fill, stroke=look.colour)
        return element("svg", square, width=12, height=12, aria_hidden="true", class_="swatch")

    def name(self, domain: str) -> Html:
        """The domain's name behind its swatch."""
        return element("span", self.swatch(domain), domain, class_="name")

    def legend(self, domains: Sequence[str]) -> Html:
        """The names of domains in one list."""
        return element("ul", *(element("li", self.name(domain)) for domain in domains), class_="legend")
