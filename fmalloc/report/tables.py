"""Tables with a caption and headers of rows and columns; wide ones scroll on a narrow screen."""

from collections.abc import Iterable, Sequence

from fmalloc.report.markup import Html, Node, element

_WIDE, _WIDEST = 8, 16


def cell(*children: Node, class_: str | None = None, style: str | None = None, title: str | None = None) -> Html:
    """A cell that says more than its text: a class, a colour, or a tooltip."""
    return element("td", *children, class_=class_, style=style, title=title)


def table(
    caption: str | None, header: Sequence[Node], rows: Iterable[Sequence[Node]], *, class_: str | None = None
) -> Html:
    """A table whose first column names its rows; cells made by `cell` are taken as they are.

    The caption is left out where it is None. Headers of more columns than fit stand upright, unless `level` is among
    the classes.
    """
    width = "wide" if len(header) > _WIDE and class_ != "level" else None
    widest = "widest" if len(header) > _WIDEST else None
    classes = " ".join(filter(None, [class_, width, widest])) or None
    head = element("tr", *(element("th", element("span", name), scope="col") for name in header))
    body = (element("tr", element("th", row[0], scope="row"), *map(_cell, row[1:])) for row in rows)
    title = None if caption is None else element("caption", element("span", caption))
    content = element("table", title, element("thead", head), element("tbody", *body), class_=classes)
    return element("div", content, class_="scroll", tabindex=0, role="region", aria_label=caption or "table")


def _cell(node: Node) -> Html:
    return node if isinstance(node, Html) and node.startswith("<td") else element("td", node)
