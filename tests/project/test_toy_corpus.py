"""The toy corpus: the same every time, clean, disjoint, and ambiguous where it should be."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fmalloc.corpus import Corpus, read_corpus
from fmalloc_shared.files import sha256_files
from fmalloc_shared.languages import LanguagePair
from tests.support import ROOT

MAKE_CORPUS = ROOT / "examples" / "toy" / "make_corpus.py"
SIZES = {"general": 6000, "it": 1000, "chess": 1000, "workshop": 1000}
# What a German word means in each domain; every other sense is wrong there.
SENSES = {
    "Feld": {"general": "field", "it": "box", "chess": "square"},
    "Blatt": {"general": "leaf", "it": "sheet", "workshop": "blade"},
    "Schloss": {"general": "castle", "it": "lock", "workshop": "lock"},
    "Schlüssel": {"general": "key", "it": "key", "workshop": "wrench"},
    "Brett": {"general": "plank", "it": "board", "chess": "board", "workshop": "board"},
    "Zug": {"general": "train", "chess": "move"},
    "Läufer": {"general": "runner", "chess": "bishop"},
    "Turm": {"general": "tower", "chess": "rook"},
    "Speicher": {"general": "attic", "it": "memory"},
    "Mutter": {"general": "mother", "workshop": "nut"},
    "Hahn": {"general": "rooster", "workshop": "tap"},
    "Bank": {"general": "bench", "workshop": "workbench"},
}


def make(directory: Path) -> Path:
    subprocess.run([sys.executable, MAKE_CORPUS, directory], check=True, timeout=60)
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def corpora(directory: Path) -> dict[str, Corpus]:
    return {name: read_corpus(directory / name, LanguagePair("de", "en")) for name in SIZES}


def test_is_the_same_every_time(directory: Path, tmp_path: Path) -> None:
    assert sha256_files(make(tmp_path)) == sha256_files(directory)


def test_has_the_promised_sizes(directory: Path, corpora: dict[str, Corpus]) -> None:
    assert sorted(path.name for path in directory.iterdir()) == sorted(SIZES)
    for name, size in SIZES.items():
        corpus = corpora[name]
        assert (len(corpus.train), len(corpus.dev), len(corpus.test)) == (size, 100, 150)


@pytest.mark.parametrize("name", SIZES)
def test_no_source_is_in_two_parts(corpora: dict[str, Corpus], name: str) -> None:
    corpus = corpora[name]
    sources = [pair.source for part in (corpus.train, corpus.dev, corpus.test) for pair in part]
    assert len(sources) == len(set(sources))


@pytest.mark.parametrize("name", SIZES)
def test_sentences_are_clean(corpora: dict[str, Corpus], name: str) -> None:
    clean = re.compile(r"[A-ZÄÖÜ][A-Za-zÄÖÜäöüß]*(,? [A-Za-zÄÖÜäöüß]+)+[.?]")
    for source, target in corpora[name].train:
        assert clean.fullmatch(source), source
        assert clean.fullmatch(target), target
        assert source[-1] == target[-1]
        assert 3 <= len(source.split()) <= 14, source


@pytest.mark.parametrize("name", SIZES)
def test_articles_fit(corpora: dict[str, Corpus], name: str) -> None:
    for source, target in corpora[name].train:
        assert not re.search(r"\b[Aa] [aeio]|\b[Aa]n [^aeiou]", target), target
        assert not re.search(r"\b(in|an) dem\b", source), source


@pytest.mark.parametrize("word", SENSES)
def test_words_mean_what_their_domain_says(corpora: dict[str, Corpus], word: str) -> None:
    senses = SENSES[word]
    assert len(set(senses.values())) > 1
    for name, sense in senses.items():
        targets = [pair.target for pair in corpora[name].train if re.search(rf"\b{word}\b", pair.source)]
        assert len(targets) >= 20, f"{word} is rare in {name}"
        assert all(re.search(rf"\b{sense}s?\b", target, re.IGNORECASE) for target in targets)


def test_general_text_knows_the_domains_words_by_other_names(corpora: dict[str, Corpus]) -> None:
    """So that a domain has to learn what its words mean, not how English spells it."""
    general = {word for pair in corpora["general"].train for word in re.findall(r"\w+", pair.target.lower())}
    wanted = {sense for senses in SENSES.values() for sense in senses.values()}
    assert wanted <= general


def test_says_how_to_be_used() -> None:
    result = subprocess.run([sys.executable, MAKE_CORPUS], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode != 0
    assert "usage: make_corpus.py DIR" in result.stderr
