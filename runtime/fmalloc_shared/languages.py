"""Languages by their codes, for learning and serving alike."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

# Two-letter code, three-letter code (NLLB), English name.
LANGUAGES = (
    ("af", "afr", "Afrikaans"),
    ("ar", "arb", "Arabic"),
    ("bg", "bul", "Bulgarian"),
    ("bn", "ben", "Bengali"),
    ("ca", "cat", "Catalan"),
    ("cs", "ces", "Czech"),
    ("cy", "cym", "Welsh"),
    ("da", "dan", "Danish"),
    ("de", "deu", "German"),
    ("el", "ell", "Greek"),
    ("en", "eng", "English"),
    ("es", "spa", "Spanish"),
    ("et", "est", "Estonian"),
    ("eu", "eus", "Basque"),
    ("fa", "pes", "Persian"),
    ("fi", "fin", "Finnish"),
    ("fr", "fra", "French"),
    ("ga", "gle", "Irish"),
    ("gl", "glg", "Galician"),
    ("he", "heb", "Hebrew"),
    ("hi", "hin", "Hindi"),
    ("hr", "hrv", "Croatian"),
    ("hu", "hun", "Hungarian"),
    ("id", "ind", "Indonesian"),
    ("is", "isl", "Icelandic"),
    ("it", "ita", "Italian"),
    ("ja", "jpn", "Japanese"),
    ("ko", "kor", "Korean"),
    ("lt", "lit", "Lithuanian"),
    ("lv", "lvs", "Latvian"),
    ("mk", "mkd", "Macedonian"),
    ("ms", "zsm", "Malay"),
    ("mt", "mlt", "Maltese"),
    ("nb", "nob", "Norwegian Bokmål"),
    ("nl", "nld", "Dutch"),
    ("no", "nor", "Norwegian"),
    ("pl", "pol", "Polish"),
    ("pt", "por", "Portuguese"),
    ("ro", "ron", "Romanian"),
    ("ru", "rus", "Russian"),
    ("sk", "slk", "Slovak"),
    ("sl", "slv", "Slovenian"),
    ("sq", "als", "Albanian"),
    ("sr", "srp", "Serbian"),
    ("sv", "swe", "Swedish"),
    ("sw", "swh", "Swahili"),
    ("th", "tha", "Thai"),
    ("tr", "tur", "Turkish"),
    ("uk", "ukr", "Ukrainian"),
    ("ur", "urd", "Urdu"),
    ("vi", "vie", "Vietnamese"),
    ("zh", "zho", "Chinese"),
)
_SHORT = {long: code for code, long, _ in LANGUAGES}


@dataclass(frozen=True)
class LanguagePair:
    """Codes of the source and the target language, as the base's tokenizer knows them; iterates over both.

    In JSON it is an object with these two keys, read as strictly as a StrictModel.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")

    source: str
    target: str

    def __iter__(self) -> Iterator[str]:
        return iter((self.source, self.target))


def short_code(code: str) -> str:
    """A language's two letters where it has two, and no script, country or variant: `de` for `deu_Latn` and `de-AT`."""
    language = re.split("[-_]", code.lower())[0]
    return _SHORT.get(language, language)
