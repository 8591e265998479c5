from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.ngrams import BUCKETS, NgramCounts, buckets


def test_counts_can_be_added_and_taken_away() -> None:
    first, second = ["Das Fenster ist offen.", "Die Maus"], ["Der Zug", "Der Läufer schlägt"]
    both = NgramCounts.of([*first, *second]).dense()
    assert np.array_equal(both, NgramCounts.of(first).dense() + NgramCounts.of(second).dense())


def test_a_bucket_counts_once_a_sentence_whatever_its_case_and_spaces() -> None:
    counts = NgramCounts.of(["ja ja ja", "JA", "  ja  "])
    assert counts.sentences == 3
    assert counts.counts.max() == 3
    assert np.array_equal(buckets("Ja  nein"), buckets(" ja nein "))
    assert buckets("").size <= 1
    assert int(buckets("ein Satz").max()) < BUCKETS


def test_the_hash_is_stable() -> None:
    """Stores and bundles hold these numbers: another hash would misroute all of them."""
    assert buckets("ab").tolist() == [15122, 26515, 86504, 181600, 194776, 215149, 230272]


def test_large_counts_survive_and_the_version_before_is_read(tmp_path: Path) -> None:
    many = NgramCounts(
        90_000,
        np.array([0, 7, 8, 99, BUCKETS - 1], dtype=np.uint32),
        np.array([1, 254, 255, 256, 70_000], dtype=np.uint32),
    )
    path = tmp_path / "routing.safetensors"
    path.write_bytes(many.to_bytes())
    before = {"buckets": many.buckets, "counts": many.counts, "sentences": np.array([90_000], dtype=np.uint64)}
    old = tmp_path / "old.safetensors"
    old.write_bytes(save(before, metadata={"version": "1"}))
    for read in (NgramCounts.read(path), NgramCounts.read(old)):
        assert read.sentences == 90_000
        assert np.array_equal(read.buckets, many.buckets)
        assert np.array_equal(read.counts, many.counts)
        assert read.to_bytes() == many.to_bytes()


@pytest.mark.parametrize("change", ["counts", "large", "present"])
def test_routing_files_that_contradict_themselves_are_refused(tmp_path: Path, change: str) -> None:
    counts = NgramCounts(9, np.array([3, 4], dtype=np.uint32), np.array([2, 300], dtype=np.uint32))
    path = tmp_path / "routing.safetensors"
    path.write_bytes(counts.to_bytes())
    tensors = load_file(path)
    tensors[change] = tensors[change][:-1]
    if change == "present":
        tensors[change] = np.zeros(BUCKETS // 8, dtype=np.uint8)
    path.write_bytes(save(tensors, metadata={"version": "2"}))
    with pytest.raises(FmallocError, match="routing.safetensors: "):
        NgramCounts.read(path)


def test_counts_survive_a_file_and_damage_is_named(tmp_path: Path) -> None:
    counts, path = NgramCounts.of(["Das Fenster", "das Blatt"]), tmp_path / "routing.safetensors"
    path.write_bytes(counts.to_bytes())
    read = NgramCounts.read(path)
    assert read.sentences == 2
    assert np.array_equal(read.dense(), counts.dense())
    assert len({counts.to_bytes() for _ in range(20)}) == 1
    path.write_bytes(counts.to_bytes()[:-3])
    with pytest.raises(FmallocError, match="routing.safetensors: not a routing file"):
        NgramCounts.read(path)
