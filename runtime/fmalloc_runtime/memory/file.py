"""`memory.sqlite` of a bundle: pairs of the domain's text, and an index of trigrams to find similar ones by.

It is read through SQLite alone, as a file that nobody changes. It may come from strangers: nothing but these three
tables may be in it, so that reading it runs no view, trigger or function of theirs.
"""

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

from fmalloc_runtime.memory.folding import folded, trigrams
from fmalloc_shared.errors import FmallocError

MEMORY_FILE = "memory.sqlite"
VERSION = 1
# Tells SQLite files of ours from others: "fmtm".
_APPLICATION = 0x666D746D
_SCHEMA = (
    "CREATE TABLE pairs (id INTEGER PRIMARY KEY, key INTEGER NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL)",
    "CREATE INDEX exact ON pairs (key)",
    "CREATE TABLE trigrams (trigram TEXT PRIMARY KEY, pairs INTEGER NOT NULL, ids BLOB NOT NULL) WITHOUT ROWID",
)
_NUMBERS = "I"  # unsigned, four bytes
# Trigrams in more pairs than this, and than one in so many, are not kept: they tell little and take the most room.
_COMMON, _COMMON_SHARE = 256, 50


def write_memory(path: Path, pairs: Iterable[tuple[str, str]]) -> int:
    """Write a new file of (source, target) pairs, each once and in their order; returns how many.

    Equal pairs and SQLite versions give equal bytes.
    """
    kept = list(dict.fromkeys((source, target) for source, target in pairs if source.strip() and target.strip()))
    postings: dict[str, array[int]] = {}
    for number, (source, _) in enumerate(kept):
        for trigram in trigrams(folded(source)):
            postings.setdefault(trigram, array(_NUMBERS)).append(number)
    with closing(sqlite3.connect(path)) as connection:
        for pragma in (f"application_id = {_APPLICATION}", f"user_version = {VERSION}", "journal_mode = OFF"):
            connection.execute(f"PRAGMA {pragma}")
        for statement in _SCHEMA:
            connection.execute(statement)
        rows = ((number, key_of(folded(source)), source, target) for number, (source, target) in enumerate(kept))
        connection.executemany("INSERT INTO pairs VALUES (?, ?, ?, ?)", rows)
        most = max(_COMMON, len(kept) // _COMMON_SHARE)
        rare = ((trigram, ids) for trigram, ids in sorted(postings.items()) if len(ids) <= most)
        ordered = ((trigram, len(ids), _bytes(ids)) for trigram, ids in rare)
        connection.executemany("INSERT INTO trigrams VALUES (?, ?, ?)", ordered)
        connection.commit()
        connection.execute("VACUUM")
    return len(kept)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that reads; FmallocError if the file is none of ours, or is damaged."""
    try:
        uri = f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            yield connection
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
        raise FmallocError(f"{path}: not a translation memory, or damaged: {error}") from error


def check_memory(path: Path, pairs: int) -> None:
    """See that the file is a whole memory of so many pairs; FmallocError says what is wrong."""
    with opened(path) as connection:
        marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        if marks != [_APPLICATION, VERSION]:
            raise FmallocError(f"{path}: application id and version {marks}, expected {[_APPLICATION, VERSION]}")
        found = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
        if sorted(sql for (sql,) in found) != sorted(_SCHEMA):
            raise FmallocError(f"{path}: it holds other tables than those of a translation memory")
        (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise FmallocError(f"{path}: damaged: {state}")
        count = 0
        for row in connection.execute("SELECT source, target FROM pairs"):
            count += 1
            if not all(isinstance(text, str) for text in row):
                raise FmallocError(f"{path}: a pair is not text")
        if count != pairs:
            raise FmallocError(f"{path}: {count} pairs, expected {pairs}")
        if connection.execute("SELECT 1 FROM trigrams WHERE typeof(ids) <> 'blob' OR length(ids) % 4").fetchone():
            raise FmallocError(f"{path}: the pairs of a trigram are not numbers of four bytes")


def pairs_of(path: Path) -> list[tuple[str, str]]:
    """All pairs in their order."""
    with opened(path) as connection:
        return connection.execute("SELECT source, target FROM pairs ORDER BY id").fetchall()


def key_of(text: str) -> int:
    """Of a folded text: the first eight bytes of its BLAKE2b, as SQLite's integers are."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big", signed=True)


def numbers_of(blob: bytes) -> Sequence[int]:
    """The pairs that hold a trigram, by number."""
    found = array(_NUMBERS)
    found.frombytes(blob)
    if _is_big_endian():
        found.byteswap()
    return found


def _bytes(ids: "array[int]") -> bytes:
    if _is_big_endian():
        ids = ids[:]
        ids.byteswap()
    return ids.tobytes()


def _is_big_endian() -> bool:
    return array(_NUMBERS, [1]).tobytes()[0] == 0
