"""Glossaries on disk: whole, private, per client."""

import stat
import threading
from pathlib import Path

import pytest

from fmalloc_runtime.errors import GlossariesOffError, MissingGlossaryError, QuotaExceededError
from fmalloc_runtime.glossaries import store as module
from fmalloc_runtime.glossaries.glossary import Dictionary, Glossary
from fmalloc_runtime.glossaries.store import GlossaryStore
from fmalloc_runtime.text.terms import Entry
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

PAIR = LanguagePair("de", "en")


def glossary(**entries: str) -> Glossary:
    return Glossary.new("g", [Dictionary.of(PAIR, [Entry(*pair) for pair in entries.items()])])


def test_what_is_kept_outlives_the_server_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    made = glossary(Datei="file")
    GlossaryStore(tmp_path / "kept", 10_000).add("one", made)
    again = GlossaryStore(tmp_path / "kept", 10_000)
    assert again.get("one", made.id) == made and again.list("one") == [made] and again.list("two") == []
    path = tmp_path / "kept" / "one" / f"{made.id}.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_indexes_follow_what_another_process_writes(tmp_path: Path) -> None:
    one, two = GlossaryStore(tmp_path, 10_000), GlossaryStore(tmp_path, 10_000)
    made = glossary(Datei="file")
    one.add("c", made)
    first = one.terms("c", made.id, PAIR)
    assert first is not None and first is one.terms("c", made.id, PAIR)
    two.change("c", made.id, lambda found: found.with_dictionary(glossary(Datei="document").dictionaries[0]))
    changed = one.terms("c", made.id, PAIR)
    assert changed is not None and [entry.target for entry in changed.entries] == ["document"]
    assert one.terms("c", made.id, LanguagePair("en", "de")) is None


def test_changes_at_once_are_all_kept(tmp_path: Path) -> None:
    made = glossary(a="b")
    GlossaryStore(tmp_path, 100_000).add("c", made)

    def add(number: int) -> None:
        def change(found: Glossary) -> Glossary:
            return found.with_dictionary(found.dictionaries[0].with_entries([(f"x{number}", "y")]))

        GlossaryStore(tmp_path, 100_000).change("c", made.id, change)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(GlossaryStore(tmp_path, 100_000).get("c", made.id).dictionaries[0].entries) == 9


def test_limits_of_a_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = GlossaryStore(tmp_path, 500)
    with pytest.raises(QuotaExceededError, match="at most 500 are kept: delete some"):
        kept.add("c", glossary(Datei="f" * 500))
    assert kept.list("c") == []
    monkeypatch.setattr(module, "MOST_GLOSSARIES", 1)
    made = glossary(a="b")
    kept.add("c", made)
    with pytest.raises(QuotaExceededError, match="has 1 glossaries, the most"):
        kept.add("c", glossary(a="b"))
    kept.change("c", made.id, lambda found: found)
    kept.delete("c", made.id)
    kept.add("c", glossary(a="b"))


@pytest.mark.parametrize("id_", ["", "x", "../one/x", "0" * 36, "00000000-0000-0000-0000-000000000000"])
def test_an_id_that_is_none_is_missing(tmp_path: Path, id_: str) -> None:
    with pytest.raises(MissingGlossaryError):
        GlossaryStore(tmp_path, 500).get("c", id_)


def test_without_a_folder_or_a_right_to_write(tmp_path: Path) -> None:
    with pytest.raises(GlossariesOffError, match="--glossaries"):
        GlossaryStore(None, 500).list("c")
    (tmp_path / "file").touch()
    with pytest.raises(FmallocError, match="glossaries cannot be kept there"):
        GlossaryStore(tmp_path / "file", 500)
