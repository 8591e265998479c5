"""Words that translate each other, as a small base that has learned to translate sees them."""

from pathlib import Path

from fmalloc.corpus import Pair
from fmalloc.learning.annotation.alignment import Aligned, aligned
from fmalloc.model.architectures import load_base
from fmalloc.model.text.tokens import set_languages
from tests.support.corpora import LANGUAGES, sentences

TRANSLATED = {"Hund": "dog", "Katze": "cat", "Maus": "mouse", "Schloss": "castle", "sieht": "sees", "kauft": "buys"}


def links_of(base: Path, pairs: list[Pair], longest: int = 60) -> list[Aligned]:
    model, tokenizer = load_base(base, LANGUAGES)
    set_languages(tokenizer, LANGUAGES)
    return aligned(model.eval(), tokenizer, pairs, longest=longest)


def test_links_are_of_words_as_they_stand_in_the_texts(base: Path) -> None:
    found = links_of(base, [Pair(*pair) for pair in sentences("general")[:60]])
    assert len(found) == 60
    right = wrong = 0
    for one in found:
        for source, target in one.links:
            assert one.pair.source[source.begin : source.end] == source.text
            assert one.pair.target[target.begin : target.end] == target.text
            if source.text in TRANSLATED:
                right += target.text == TRANSLATED[source.text]
                wrong += target.text != TRANSLATED[source.text]
        assert len({target for _, target in one.links}) == len(one.links)
        assert [source.begin for source, _ in one.links] == sorted(source.begin for source, _ in one.links)
    assert right > 3 * wrong


def test_pairs_without_words_or_of_too_many_tokens_have_no_links(base: Path) -> None:
    pairs = [Pair("!", "?"), Pair("Der Hund sieht die Maus heute.", "The dog sees the mouse today.")]
    assert links_of(base, pairs)[0].links == ()
    assert [one.pair for one in links_of(base, pairs, longest=4)] == pairs[:1]
