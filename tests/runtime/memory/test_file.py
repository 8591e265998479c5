"""The file of a translation memory: what is written is read, and nothing else is."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from fmalloc_runtime.memory.file import check_memory, opened, pairs_of, write_memory
from fmalloc_runtime.memory.folding import folded, trigrams
from fmalloc_runtime.memory.memory import Memory
from fmalloc_shared.errors import FmallocError

PAIRS = [("Guten Morgen", "Good morning"), ("Guten Abend", "Good evening"), ("Guten Morgen", "Morning")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_memory(tmp_path / "memory.sqlite", PAIRS)
    return tmp_path / "memory.sqlite"


def test_pairs_come_back_in_order_and_once(tmp_path: Path) -> None:
    path = tmp_path / "odd name?#%.sqlite"
    odd = ("It's «50 %»\t→ 😀", "\\ \" ' --")
    assert write_memory(path, [*PAIRS, PAIRS[0], odd, (" ", "blank"), ("leer", "")]) == 4
    assert pairs_of(path) == [*PAIRS, odd]
    check_memory(path, 4)


def test_equal_pairs_give_equal_bytes(path: Path, tmp_path: Path) -> None:
    write_memory(tmp_path / "again.sqlite", PAIRS)
    assert (tmp_path / "again.sqlite").read_bytes() == path.read_bytes()


def test_reading_writes_nothing(path: Path) -> None:
    before = path.read_bytes()
    path.parent.chmod(0o500)
    try:
        check_memory(path, 3)
        Memory(path).similar("Guten Morgen", 50, 5)
        with pytest.raises(FmallocError, match="readonly"), opened(path) as connection:
            connection.execute("DELETE FROM pairs")
    finally:
        path.parent.chmod(0o700)
    assert path.read_bytes() == before and [*path.parent.iterdir()] == [path]


def changed(statement: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.commit()
        connection.close()

    return change


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4096])


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda path: path.write_bytes(b"not SQLite at all" * 100), "not a translation memory"),
        (lambda path: path.write_bytes(b""), "application id"),
        (lambda path: path.unlink(), "not a translation memory"),
        (cut, "damaged"),
        (changed("PRAGMA user_version = 2"), "expected"),
        (changed("CREATE VIEW more AS SELECT 1"), "other tables"),
        (changed("CREATE TRIGGER t AFTER INSERT ON pairs BEGIN SELECT 1; END"), "other tables"),
        (changed("DELETE FROM pairs WHERE id = 0"), "2 pairs, expected 3"),
        (changed("UPDATE pairs SET target = x'41'"), "not text"),
        (changed("UPDATE pairs SET source = CAST(x'ff' AS TEXT)"), "damaged"),
        (changed("UPDATE trigrams SET ids = x'000000'"), "numbers of four bytes"),
        (changed("UPDATE trigrams SET ids = 7"), "numbers of four bytes"),
    ],
)
def test_what_is_no_whole_memory_is_refused(path: Path, damage: Callable[[Path], None], complaint: str) -> None:
    damage(path)
    with pytest.raises(FmallocError, match=complaint):
        check_memory(path, 3)


def test_folding_keeps_what_makes_a_difference() -> None:
    assert folded(" a\u0308\u00a0 b\u200b\tC. ") == "\u00e4 b C."
    assert trigrams("Aba aba") == [" ab", "aba", "ba ", "a a"]
