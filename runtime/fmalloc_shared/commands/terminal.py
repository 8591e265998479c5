"""Tables and messages on a terminal; what files hold is shown, and not obeyed."""

from typing import Any

from rich.console import Console  # noqa: TID251 - this is the one place
from rich.text import Text

from fmalloc_shared.errors import printable


class Terminal(Console):
    """rich's console, which escapes what is unprintable in every string that it shows."""

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich's."""
        return super().render_str(printable(text), **options)
