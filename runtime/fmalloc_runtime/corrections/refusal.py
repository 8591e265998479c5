"""What is refused of the corrections that clients send, and why."""

import re
from collections import Counter

from fmalloc_runtime.text.placeholders import find_placeholders
from fmalloc_shared.corrections import refusal
from fmalloc_shared.invisible import without_invisible

_BEGINNING = re.compile(r"<+/?[^\s/>]*+|\{[^,{}]*+,|.+", re.DOTALL)


def tidied(text: str) -> str:
    """A side of a correction without white space around it and characters that show nothing, as learning reads text."""
    return without_invisible(text).strip()


def refused(source: str, target: str) -> str | None:
    """Why a tidied correction is refused; None if it may be kept.

    Every placeholder of the source has to be in the target as often: what is learned without them, a model forgets.
    """
    if reason := refusal(source, target):
        return reason
    missing = _placeholders(source) - _placeholders(target)
    return f"the target lacks {next(iter(missing))[:80]} of the source" if missing else None


def _placeholders(text: str) -> Counter[str]:
    """Placeholders that no prose looks like, and tags, and how often each occurs.

    Of tags the name counts, of ICU arguments the part before the texts: attributes and texts may be translated.
    Entities do not count, for they are characters.
    """
    found = (text[begin:end] for begin, end in find_placeholders(text))
    certain = {text[begin:end] for begin, end in find_placeholders(text, prose=False)}
    kept = (one for one in found if one.startswith("<") or (one in certain and not one.startswith("&")))
    return Counter(_BEGINNING.match(one)[0] for one in kept)  # type: ignore[index]
