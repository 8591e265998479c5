"""What a memory compares: text without what makes no difference."""

import unicodedata

from fmalloc_shared.invisible import without_invisible


def folded(text: str) -> str:
    """The text in NFC, without invisible characters, with one space for each stretch of white space."""
    return " ".join(unicodedata.normalize("NFC", without_invisible(text)).split())


def trigrams(text: str) -> list[str]:
    """Its distinct trigrams of characters in their order, in lower case, with a space at either end."""
    padded = f" {text.lower()} "
    return list(dict.fromkeys(padded[at : at + 3] for at in range(len(padded) - 2)))
