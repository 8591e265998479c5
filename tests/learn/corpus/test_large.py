"""Large text: in arrays, over several processes and from the cache it is what it is in lists."""

import hashlib
from multiprocessing import Queue, get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmalloc.cache.cache import Cache
from fmalloc.cache.columns import Draft
from fmalloc.corpus import Corpus, CorpusSettings, Pair, digest, read_corpus, reading
from fmalloc.corpus.blocks import Block
from fmalloc.corpus.formats.formats import rows
from fmalloc.corpus.overlap import HeldOutPairs, between
from fmalloc.corpus.pairs import Pairs, blocks
from fmalloc.corpus.report import Tally
from fmalloc.corpus.table import Table, Text
from fmalloc.corpus.workers import applied
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

DE_EN = LanguagePair("de", "en")


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def many(rows: int = 9000) -> list[str]:
    """Rows of which some teach nothing, are there again far away, or hold markup."""
    odd = ("", "ja\t", "a\x01\tb", "<b>fett</b> &amp;\tbold", "Ser\u00adver\tserver", "kurz\t" + "long " * 40)
    usual = [f"Satz {i % 8200} ist da.\tSentence {i % 8200} is here." for i in range(rows)]
    return [odd[i // 50 % 6] if i % 50 == 7 else line for i, line in enumerate(usual)]


def reference(path: Path) -> dict[str, list[Pair]]:
    """Train, dev and test of a file in which no row is at fault, from their definition."""
    seen: dict[Pair, None] = {}
    for _, source, target in rows((path,), DE_EN, Tally()):
        seen.setdefault(Pair(source, target))
    parts: dict[str, list[Pair]] = {"train": list(seen)}
    for part in ("dev", "test"):
        share = min(0.05, 1000 / len(parts["train"]))
        hashes = [hashlib.sha256(f"{part}\t{pair.source}".encode()).digest()[:8] for pair in parts["train"]]
        drawn = [int.from_bytes(hashed) < share * 2**64 for hashed in hashes]
        both = list(zip(parts["train"], drawn, strict=True))
        parts[part] = [pair for pair, taken in both if taken]
        parts["train"] = [pair for pair, taken in both if not taken]
    held_out = HeldOutPairs(parts["dev"], parts["test"])
    parts["train"] = [pair for pair in parts["train"] if held_out.match(pair) != "pair"]
    return parts


def parts_of(corpus: Corpus) -> dict[str, list[Pair]]:
    return {part: list(getattr(corpus, part)) for part in ("train", "dev", "test")}


def test_parts_are_those_of_their_definition(tmp_path: Path) -> None:
    lines = [f"Satz {i % 8200}{'!' * (i % 3)}\tSentence {i % 8200}" for i in range(20000)]
    path = write(tmp_path / "a.tsv", *lines)
    expected = reference(path)
    corpus = read_corpus(path, DE_EN)
    assert parts_of(corpus) == expected
    assert {part: digest(pairs) for part, pairs in expected.items()} == {
        part: digest(getattr(corpus, part)) for part in expected
    }
    assert corpus.report.dropped["in dev or test"].pairs > 0


def test_several_processes_read_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tsv", *many())
    alone = read_corpus(path, DE_EN)
    monkeypatch.setattr(reading, "WORTH_KEEPING", 0)
    monkeypatch.setattr("fmalloc.corpus.workers.cores", lambda: 2)
    shared = read_corpus(path, DE_EN)
    assert shared == alone
    assert list(shared.report.messages("a")) == list(alone.report.messages("a"))
    assert np.array_equal(shared.checksums, alone.checksums)


def test_each_reason_is_told_with_its_first_line(tmp_path: Path) -> None:
    report = read_corpus(write(tmp_path / "a.tsv", *many()), DE_EN).report
    assert {name: found.first.line for name, found in report.dropped.items() if found.first} == {
        "empty side": 8,
        "control characters": 108,
        "length ratio over 9": 258,
        "duplicate": 458,
    }
    assert {name: (found.pairs, found.first.line) for name, found in report.cleaned.items() if found.first} == {
        "entities decoded": (30, 158),
        "tags taken out": (30, 158),
        "invisible characters taken out": (1, 208),
    }


def fail(number: int) -> int:
    if number == 3:
        raise FmallocError(f"row {number}")
    return number


def end(_number: int) -> int:
    import os

    os._exit(1)


def test_errors_of_other_processes_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmalloc.corpus.workers.cores", lambda: 2)
    found = applied(fail, range(20), shared=True)
    assert [next(found), next(found), next(found)] == [0, 1, 2]
    with pytest.raises(FmallocError, match="row 3"):
        next(found)
    with pytest.raises(FmallocError, match="was killed"):
        list(applied(end, range(2), shared=True))


class Kept:
    """A cached corpus, and how often it was read from its files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache, self.times = Cache(folder, smallest=0), 0
        fill = reading._fill

        def counted(*arguments: object) -> Tally:
            self.times += 1
            return fill(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(reading, "_fill", counted)

    def read(self, path: Path, **settings: bool) -> Corpus:
        return read_corpus(path, DE_EN, CorpusSettings.model_validate(settings), self.cache)


def test_a_cached_corpus_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tsv", *many())
    expected = read_corpus(path, DE_EN)
    kept = Kept(tmp_path / "cache", monkeypatch)
    for _ in range(2):
        found = kept.read(path)
        assert found == expected
        assert digest(found.train) == digest(list(expected.train))
        assert list(between({"a": found, "b": found})) == list(between({"a": expected, "b": expected}))
    assert kept.times == 1


def test_other_text_or_settings_are_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = many()
    path = write(tmp_path / "it" / "train.tsv", *lines)
    write(tmp_path / "it" / "dev.tsv", "nein\tno")
    write(tmp_path / "it" / "test.tsv", "ja\tyes")
    kept = Kept(tmp_path / "cache", monkeypatch)
    before = kept.read(tmp_path / "it")
    write(path, *lines[:-1], lines[-1].replace("Sentence", "Phrase"))
    after = kept.read(tmp_path / "it")
    assert after.train[-1].target.startswith("Phrase")
    assert list(before.train) == list(after.train[:-1])
    write(tmp_path / "it" / "test.tsv", "ja\tyeah")
    assert kept.read(tmp_path / "it").test == (Pair("ja", "yeah"),)
    assert len(kept.read(tmp_path / "it", drop_duplicates=False).train) > len(after.train)
    assert kept.times == 4
    kept.read(tmp_path / "it")
    assert kept.times == 4


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.tsv", *many())
    fill = reading._fill

    def meanwhile(*arguments: object) -> Tally:
        tally = fill(*arguments)  # type: ignore[arg-type]
        path.write_text(path.read_text() + "mehr\tmore\n")
        return tally

    monkeypatch.setattr(reading, "_fill", meanwhile)
    with pytest.raises(FmallocError, match=r"a\.tsv: was changed while it was read"):
        read_corpus(path, DE_EN, cache=Cache(tmp_path / "cache", smallest=0))
    assert not list((tmp_path / "cache").glob("corpus-*"))


sides = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.lists(st.builds(Pair, sides, sides), max_size=12))
def test_pairs_in_arrays_are_the_same(pairs: list[Pair]) -> None:
    found = Pairs.of(pairs)
    assert list(found) == pairs == [found[index] for index in range(len(found))]
    assert found == tuple(pairs)
    assert digest(found) == digest(pairs)
    assert digest(found[1::2]) == digest(pairs[1::2])
    assert list(found[::-1][1:]) == pairs[::-1][1:]
    for text in (found, pairs, found[:]):
        read = [*blocks(text)]
        assert [pair for block in read for pair in map(Pair, *block)] == pairs


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.sampled_from([Pair(a, b) for a in "abc" for b in "xyz"]), min_size=1, max_size=40))
def test_the_first_of_identical_pairs_stays_in_blocks_of_any_size(
    pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, Draft() as draft:
        for module in ("reading", "table", "pairs"):
            patched.setattr(f"fmalloc.corpus.{module}.BLOCK", 4)
        blocks_of = reading._blocks((line, *pair) for line, pair in enumerate(pairs))
        cleaned = (Block.of(Path("a"), CorpusSettings(), [], rows) for rows in blocks_of)
        table = Table(Path("a"), cleaned, draft, Tally(), [])
        table.drop_duplicates(Tally())
        text, checksums = Text.of(draft, "train"), draft.column("train.checksums", "uint32")
        table.write(text, checksums)
        assert list(text.pairs()) == list(dict.fromkeys(pairs))
        assert len(checksums.array()) == len(text.pairs())


def _sums(answers: "Queue[list[int]]") -> None:
    answers.put(list(applied(sum, [[1, 2], [3]], shared=True)))


def test_a_process_that_may_start_no_others_does_it_alone() -> None:
    context = get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_sums, args=(answers,), daemon=True)
    process.start()
    assert answers.get(timeout=60) == [3, 3]
    process.join()
