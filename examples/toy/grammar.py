"""Just enough German and English grammar to write aligned sentences: noun phrases, verbs, clauses."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar

T = TypeVar("T")
Pair = tuple[str, str]
Case = Literal["nominative", "accusative", "dative"]
Person = Literal["1s", "2s", "3s", "plural"]

DEFINITE: dict[Case, dict[str, str]] = {
    "nominative": {"m": "der", "f": "die", "n": "das"},
    "accusative": {"m": "den", "f": "die", "n": "das"},
    "dative": {"m": "dem", "f": "der", "n": "dem"},
}
INDEFINITE_ENDINGS: dict[Case, dict[str, str]] = {
    "nominative": {"m": "", "f": "e", "n": ""},
    "accusative": {"m": "en", "f": "e", "n": ""},
    "dative": {"m": "em", "f": "er", "n": "em"},
}
MIXED_ADJECTIVE_ENDINGS = {"m": "er", "f": "e", "n": "es"}
CONTRACTIONS = {"in dem": "im", "an dem": "am"}


def pick(random: Random, items: Sequence[T]) -> T:
    """One of the items; uses only random(), whose sequence every Python version keeps."""
    return items[int(random.random() * len(items))]


def chance(random: Random, probability: float) -> bool:
    """True with this probability."""
    return random.random() < probability


@dataclass(frozen=True)
class Noun:
    """A countable noun; `oblique` is its form outside the nominative (den Jungen)."""

    german: str
    oblique: str
    gender: str
    plural: str
    english: str
    english_plural: str


@dataclass(frozen=True)
class Adjective:
    """German stem without ending, and the English word."""

    german: str
    english: str


@dataclass(frozen=True)
class Verb:
    """German present tense by person (the plural form is the infinitive) and the English verb."""

    german: dict[Person, str]
    english: str
    english_third: str

    @property
    def infinitive(self) -> str:
        """The German infinitive."""
        return self.german["plural"]

    def english_for(self, person: Person) -> str:
        """The English present tense form."""
        return self.english_third if person == "3s" else self.english


@dataclass(frozen=True)
class Phrase:
    """A piece of a sentence in both languages; `person` is what a verb agrees with."""

    german: str
    english: str
    person: Person = "3s"


def nouns(table: str) -> tuple[Noun, ...]:
    """Read lines `German gender plural english [english-plural]`; German may be `Junge/Jungen`."""
    return tuple(_noun(*line.split()) for line in table.strip().splitlines())


def adjectives(words: str) -> tuple[Adjective, ...]:
    """Read `groß=big klein=small`; `_` stands for a space."""
    return tuple(Adjective(*word.replace("_", " ").split("=")) for word in words.split())


def verbs(table: str) -> tuple[Verb, ...]:
    """Read lines `sehe siehst sieht sehen = see sees`; `_` stands for a space."""
    return tuple(_verb(line) for line in table.strip().splitlines())


def _noun(german: str, gender: str, plural: str, english: str, english_plural: str = "") -> Noun:
    nominative, _, oblique = german.partition("/")
    return Noun(nominative, oblique or nominative, gender, plural, english, english_plural or _english_plural(english))


def _english_plural(word: str) -> str:
    return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def _verb(line: str) -> Verb:
    first, second, third, plural, _, english, english_third = line.replace("=", " = ").split()
    german: dict[Person, str] = {"1s": first, "2s": second, "3s": third, "plural": plural}
    return Verb(german, english.replace("_", " "), english_third.replace("_", " "))


def the(noun: Noun, case: Case, adjective: Adjective | None = None) -> Phrase:
    """`den alten Turm` / `the old tower`."""
    ending = "en" if case == "dative" or (case == "accusative" and noun.gender == "m") else "e"
    return _phrase(DEFINITE[case][noun.gender], ending, noun, case, "the", adjective)


def a(noun: Noun, case: Case, adjective: Adjective | None = None, *, stem: str = "ein") -> Phrase:
    """`einen alten Turm` / `an old tower`; the stem may be mein, dein or kein too."""
    determiner = stem + INDEFINITE_ENDINGS[case][noun.gender]
    if case == "dative" or (case == "accusative" and noun.gender == "m"):
        ending = "en"
    else:
        ending = MIXED_ADJECTIVE_ENDINGS[noun.gender]
    english = {"ein": "a", "mein": "my", "dein": "your", "kein": "no"}[stem]
    if english == "a" and (adjective or noun).english[0] in "aeiou":
        english = "an"
    return _phrase(determiner, ending, noun, case, english, adjective)


def counted(noun: Noun, number: Adjective, adjective: Adjective | None = None) -> Phrase:
    """`zwei alte Türme` / `two old towers`: nominative or accusative."""
    german = [number.german, *([adjective.german + "e"] if adjective else []), noun.plural]
    english = [number.english, *([adjective.english] if adjective else []), noun.english_plural]
    return Phrase(" ".join(german), " ".join(english), "plural")


def _phrase(determiner: str, ending: str, noun: Noun, case: Case, english: str, adjective: Adjective | None) -> Phrase:
    head = noun.german if case == "nominative" else noun.oblique
    middle = [adjective.german + ending] if adjective else []
    english_middle = [adjective.english] if adjective else []
    return Phrase(" ".join([determiner, *middle, head]), " ".join([english, *english_middle, noun.english]))


def located(preposition: str, english: str, noun: Noun) -> Phrase:
    """`im Garten` / `in the garden`, always dative."""
    place = the(noun, "dative")
    german = f"{preposition} {place.german}"
    for long, short in CONTRACTIONS.items():
        if german.startswith(f"{long} "):
            german = short + german[len(long) :]
    return Phrase(german, f"{english} {place.english}")


def sentence(german: str, english: str, mark: str = ".") -> Pair:
    """Capitalise both sides and close them with the mark."""
    return german[0].upper() + german[1:] + mark, english[0].upper() + english[1:] + mark
