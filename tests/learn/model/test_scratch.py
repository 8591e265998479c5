"""The tokenizer of a new base: of a sample, on several threads, and the same bytes every time."""

from pathlib import Path

import pytest

from fmalloc.corpus import read_corpus
from fmalloc.corpus.pairs import Pairs
from fmalloc.model import scratch
from fmalloc.model.scratch import train_tokenizer
from fmalloc_shared.files import sha256_files
from tests.support.corpora import LANGUAGES


@pytest.fixture
def pairs(corpora: Path) -> Pairs:
    return read_corpus(corpora / "general", LANGUAGES).train


def trained(pairs: Pairs, folder: Path) -> dict[str, str]:
    train_tokenizer(pairs, LANGUAGES, 110, folder)
    return sha256_files(folder)


def test_several_threads_give_the_same_bytes(pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_ON_ONE_THREAD", len(pairs) - 1)
    first, *others = (trained(pairs, tmp_path / name) for name in ("a", "b", "c"))
    assert others == [first] * 2


def test_of_many_pairs_some_are_read(pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(pairs, tmp_path / "whole")
    monkeypatch.setattr(scratch, "_SAMPLE", len(pairs))
    assert trained(pairs, tmp_path / "all") == whole
    monkeypatch.setattr(scratch, "_SAMPLE", len(pairs) - 100)
    chosen = list(scratch._sample(pairs))
    assert len(chosen) == len(pairs) - 100
    rest = iter(pairs)
    assert all(pair in rest for pair in chosen)  # in their order
    sampled = trained(pairs, tmp_path / "some")
    assert sampled == trained(pairs, tmp_path / "again")
    monkeypatch.setattr(scratch, "_SAMPLE", len(pairs))
    assert sampled == trained(Pairs.of(chosen), tmp_path / "chosen")
