"""Deltas are read strictly: what is damaged, cut or absurd is refused by name, before anything large is allocated."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_shared.errors import FmallocError
from tests.support.packing import delta_of


def changed(delta: Path, change: Callable[[dict[str, object], dict[str, np.ndarray]], object]) -> None:
    """Write a delta again with another header or other tensors."""
    data = delta.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["delta"])
    tensors = load_file(delta)
    change(header, tensors)
    delta.write_bytes(save(tensors, metadata={"delta": json.dumps(header)}))


def first(header: dict[str, object], kind: str) -> dict[str, object]:
    parts = header["parts"]
    assert isinstance(parts, list)
    return next(part for part in parts if part["kind"] == kind and (kind != "gather" or part["take_rows"]))


HUGE = 2**47
DAMAGES: dict[str, tuple[Callable[[dict, dict], object], str]] = {
    "version": (lambda h, _: h.update(version=2), "version 2, this program reads version 1"),
    "key": (lambda h, _: h.update(more=1), "more: Extra inputs are not permitted"),
    "part": (lambda h, _: h["parts"].append({"kind": "zip"}), "does not match any of the expected tags"),
    "reference": (lambda h, _: h.update(reference="../../etc/passwd"), "reference: String should match"),
    "other reference": (lambda h, _: h.update(reference="0" * 64), "missing, but .* is stored as its difference"),
    "size": (lambda h, _: h.update(size=h["size"] + 1), "its parts make"),
    "negative": (lambda h, _: first(h, "copy").update(offset=-1), "offset: Input should be greater"),
    "offset": (lambda h, _: first(h, "copy").update(offset=HUGE), "reads up to byte"),
    "length": (lambda h, _: first(h, "copy").update(size=HUGE), "reads up to byte"),
    "rows": (lambda h, _: first(h, "gather").update(rows=HUGE, columns=HUGE), "reads up to byte"),
    "item": (lambda h, _: first(h, "gather").update(item_size=3), "item_size: Input should be 1, 2, 4 or 8"),
    "index": (lambda _, t: t["index.0"].fill(2**32 - 1), "index 4294967295 in index.0, expected less than"),
    "no index": (lambda _, t: t.pop("index.0"), "holds tensors"),
    "wrong index": (lambda h, _: first(h, "gather").update(take_rows="literals"), "holds tensors"),
    "extra": (lambda _, t: t.update(extra=np.zeros(1, np.uint32)), "holds tensors"),
    "type": (lambda _, t: t.update(literals=np.zeros(4, np.float32)), "is F32"),
    "literals": (lambda _, t: t.update(literals=t["literals"][:-1]), "with .* literal ones"),
    "byte": (lambda _, t: t["literals"].__setitem__(0, t["literals"][0] ^ 1), "the delta was changed"),
    "repeated": (
        lambda h, _: h.update(parts=h["parts"] + [h["parts"][0]] * 1_000, size=0),
        "its parts make|would make",
    ),
    "bomb": (
        lambda h, _: (h["parts"].extend([{"kind": "copy", "offset": 0, "size": 250_000}] * 2_000), bomb(h)),
        "would make .* expected no more than both together",
    ),
}


def bomb(header: dict) -> None:
    header["size"] += 250_000 * 2_000


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_malformed_delta_is_refused_by_name(own_packed_bundles: Path, damage: str) -> None:
    change, complaint = DAMAGES[damage]
    delta = delta_of(own_packed_bundles)
    changed(delta, change)
    with pytest.raises(FmallocError, match=complaint) as error:
        Bundle.open(delta.parent.parent)
    assert str(delta) in str(error.value)


def test_a_damaged_shared_file_is_named(own_packed_bundles: Path) -> None:
    (shared,) = (own_packed_bundles / "shared").iterdir()
    content = bytearray(shared.read_bytes())
    path = delta_of(own_packed_bundles).parent.parent
    content[len(content) // 3] ^= 1
    shared.write_bytes(content)
    with pytest.raises(FmallocError, match=rf"{shared.name}: sha256 is .* the file was changed"):
        Bundle.open(path)
    shared.write_bytes(content[: len(content) // 2])
    with pytest.raises(FmallocError, match=rf"reads up to byte \d+ of .*{shared.name}, which has"):
        Bundle.open(path)
    shared.write_bytes(b"")
    with pytest.raises(FmallocError, match=rf"{shared.name}, which has 0"):
        Bundle.open(path)
    shared.unlink()
    with pytest.raises(FmallocError, match=rf"{shared.name}: missing, .* needs the folder shared beside it"):
        Bundle.open(path)


def test_any_damage_to_a_delta_is_an_error_and_nothing_else(own_packed_bundles: Path) -> None:
    delta = delta_of(own_packed_bundles)
    path, whole = delta.parent.parent, delta.read_bytes()
    draw = random.Random(1)
    header = 8 + int.from_bytes(whole[:8], "little")
    for attempt in range(150):
        content = bytearray(whole)
        if attempt % 3 == 0:
            content = content[: draw.randrange(len(whole))]
        else:
            place = draw.randrange(header if attempt % 3 == 1 else len(whole))
            content[place] ^= 1 << draw.randrange(8)
        delta.write_bytes(content)
        try:
            Bundle.open(path)
        except FmallocError as error:
            assert str(delta) in str(error) or "shared" in str(error)
        else:
            # A changed name of an index changes nothing that is made of it.
            assert attempt % 3 == 1
    delta.write_bytes(whole)
    Bundle.open(path)
