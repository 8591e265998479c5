"""HTML and SVG elements as escaped strings: what comes from a store can never become markup."""

from collections.abc import Iterable
from html import escape

_VOID = frozenset({"meta", "br"})


class Html(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


Node = str | int | None
"""What an element may hold: `Html` as it is, other text escaped, None for nothing."""


def element(name: str, /, *children: Node, **attributes: str | float | None) -> Html:
    """An element; `class_` is class, `stroke_width` is stroke-width, and attributes that are None are left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(children)}</{name}>")


def joined(nodes: Iterable[Node]) -> Html:
    """Nodes one after another."""
    return Html("".join(_escaped(node) for node in nodes))


def _escaped(node: Node) -> str:
    if node is None:
        return ""
    return node if isinstance(node, Html) else escape(str(node))


def _plain(value: str | float) -> str:
    """Coordinates to a hundredth, without trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def paragraph(*children: Node, class_: str | None = None) -> Html:
    """A paragraph of text."""
    return element("p", *children, class_=class_)


def section(identity: str, title: str, *children: Node) -> Html:
    """A part of the page with its heading, which `identity` links to."""
    return element("section", element("h2", title), *children, id=identity)


def figure(caption: Node, *children: Node, class_: str | None = None) -> Html:
    """Something to look at, with its caption above."""
    return element("figure", element("figcaption", caption), *children, class_=class_)
