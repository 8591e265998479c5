"""Domain names, checked before they become part of a path."""

import re
from typing import Annotated

from pydantic import AfterValidator

from fmalloc_shared.errors import FmallocError

GENERAL = "general"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def check_name(name: str) -> str:
    """Return `name` if it can name a domain; raise FmallocError if not."""
    if not _NAME.fullmatch(name):
        raise FmallocError(
            f"domain name {name!r}: use 1 to 63 characters of a-z, 0-9, '-' and '_', the first a letter or digit"
        )
    return name


def _domain(name: str) -> str:
    try:
        return check_name(name)
    except FmallocError as error:
        raise ValueError(str(error)) from error


DomainName = Annotated[str, AfterValidator(_domain)]
