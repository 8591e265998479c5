"""Bundles prove their content; live.json is read strictly."""

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from fmalloc_runtime.bundle.bundle import Bundle, GoldenRecord, LiveIndex, Manifest, lines_of
from fmalloc_shared.errors import FmallocError
from tests.support.bundles import SENTENCES, bundle_of, make_live, write_bundle


def test_a_bundle_is_what_was_written(bundles: Path) -> None:
    path = bundle_of(bundles, "it")
    bundle = Bundle.open(path)
    assert bundle.name == path.name == bundle.manifest.bundle_name
    assert bundle.manifest.domain == "it"
    assert [record.source for record in bundle.golden()] == SENTENCES["it"][:4]
    assert bundle.routing().sentences == len(SENTENCES["it"])


def test_a_manifest_survives_a_round_trip_to_the_byte(bundles: Path) -> None:
    data = (bundle_of(bundles, "it") / "manifest.json").read_bytes()
    manifest = Manifest.parse(data, "manifest.json")
    assert manifest.to_bytes() == data
    assert list(json.loads(data)) == sorted(json.loads(data))


def test_equal_content_gives_equal_names(bundles: Path, tmp_path: Path) -> None:
    again = write_bundle(tmp_path, "it", seed=1)
    assert again.name == bundle_of(bundles, "it").name
    assert write_bundle(tmp_path, "it", seed=7).name != again.name


@pytest.mark.parametrize("name", ["model/model.bin", "tokenizer/source.spm", "routing.safetensors", "golden.jsonl"])
def test_a_changed_byte_is_found(own_bundles: Path, name: str) -> None:
    path = bundle_of(own_bundles, "it")
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)
    with pytest.raises(FmallocError, match=rf"{name}: sha256 is [0-9a-f]+, expected [0-9a-f]+"):
        Bundle.open(path)


def test_missing_and_extra_files_are_found(own_bundles: Path) -> None:
    path = bundle_of(own_bundles, "it")
    (path / "model" / "model.bin").unlink()
    (path / "model" / "notes.txt").write_text("hello")
    with pytest.raises(FmallocError) as error:
        Bundle.open(path)
    assert "model.bin: missing" in str(error.value) and "notes.txt: not listed" in str(error.value)


def test_the_directory_is_named_after_its_manifest(own_bundles: Path) -> None:
    path = bundle_of(own_bundles, "it")
    renamed = path.rename(own_bundles / "it@000000000000")
    with pytest.raises(FmallocError, match=rf"expected the name {path.name}, by its manifest"):
        Bundle.open(renamed)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 2}, "version 2, this program reads version 1"),
        ({"surprise": True}, "surprise: Extra inputs are not permitted"),
        ({"domain": "../x"}, "domain: Value error, domain name '../x'"),
        ({"maximum_length": "512"}, "maximum_length: Input should be a valid integer, found '512'"),
        ({"widths": {"encoder.0": 0}}, "widths.encoder.0: Input should be greater than or equal to 1"),
        ({"files": {"../../passwd": "0" * 64}}, "expected the relative path of a file inside the bundle"),
        ({"files": {"model/model.bin": "abc"}}, "files.model/model.bin: String should match"),
    ],
)
def test_a_manifest_is_read_strictly(own_bundles: Path, change: dict[str, object], complaint: str) -> None:
    path = bundle_of(own_bundles, "it") / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(FmallocError) as error:
        Manifest.read(path)
    assert str(error.value).startswith(f"{path}: ") and complaint in str(error.value)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match="no such bundle directory"):
        Bundle.open(tmp_path / "it@0123456789ab")


def test_golden_records_keep_every_character(own_bundles: Path) -> None:
    record = GoldenRecord(source="eins\u2028zwei \x85 „drei“", translation='a "b" \\ \n c')
    path = write_bundle(own_bundles, "it", golden=(record, record))
    assert Bundle.open(path).golden() == (record, record)
    assert lines_of([record]).count(b"\n") == 1


def test_a_bad_golden_line_is_named(own_bundles: Path) -> None:
    path = bundle_of(own_bundles, "it")
    bundle = Bundle.open(path)
    (path / "golden.jsonl").write_bytes(b'{"source": "a", "translation": "b"}\n{"source": 1}\n')
    with pytest.raises(FmallocError, match=r"golden\.jsonl:2: source: Input should be a valid string, found 1"):
        bundle.golden()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "Invalid JSON"),
        (b'{"version": 1}', "domains: Field required"),
        (b'{"version": 2, "domains": {}}', "version 2, this program reads version 1"),
        (b'{"version": 1, "domains": {"../x": "../x@0123456789ab"}}', "domain name '../x'"),
        (b'{"version": 1, "domains": {"it": "../it@0123456789ab"}}', "domains.it: expected it@ and 12 hex digits"),
        (b'{"version": 1, "domains": {"it": "law@0123456789ab"}}', "domains.it: expected it@ and 12 hex digits"),
    ],
)
def test_a_live_index_is_read_strictly(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "live.json").write_bytes(content)
    with pytest.raises(FmallocError) as error:
        LiveIndex.of(tmp_path)
    assert str(tmp_path / "live.json") in str(error.value) and complaint in str(error.value)


def test_a_live_index_takes_a_bundle_over(bundles: Path, tmp_path: Path) -> None:
    index = LiveIndex.of(bundles)
    changed = index.with_bundle("it@0123456789ab")
    assert changed.domains == index.domains | {"it": "it@0123456789ab"}
    make_live(tmp_path, Path("it@0123456789ab"))
    assert LiveIndex.of(tmp_path).domains == {"it": "it@0123456789ab"}


def test_a_memory_is_part_of_the_bundle_and_checked_with_it(tmp_path: Path) -> None:
    path = write_bundle(tmp_path, "it", memory=[("Datei", "file"), ("Maus", "mouse")])
    bundle = Bundle.open(path)
    assert bundle.manifest.memory and bundle.manifest.memory.pairs == 2
    found = bundle.memory()
    assert found and found.exact(["Maus"]) == {"Maus": "mouse"}
    content = (path / "memory.sqlite").read_bytes()
    (path / "memory.sqlite").write_bytes(content.replace(b"mouse", b"house"))
    with pytest.raises(FmallocError, match=r"memory\.sqlite"):
        Bundle.open(path)


def test_a_glossary_is_part_of_the_bundle_and_checked_with_it(tmp_path: Path) -> None:
    path = write_bundle(tmp_path, "it", glossary={"Datei": "file", "Maus": "mouse"})
    bundle = Bundle.open(path)
    assert [(term.source, term.target) for term in bundle.glossary()] == [("Datei", "file"), ("Maus", "mouse")]
    assert Bundle.open(write_bundle(tmp_path, "it")).glossary() == ()
    for changes, complaint in (
        ({"glossary": 3}, "2 lines, the manifest says 3 terms"),
        ({"glossary": None}, "glossary.jsonl and `glossary` go together"),
    ):
        manifest = bundle.manifest.model_copy(update=changes)
        changed = tmp_path / manifest.bundle_name
        shutil.copytree(path, changed)
        (changed / "manifest.json").write_bytes(manifest.to_bytes())
        with pytest.raises(FmallocError, match=complaint):
            Bundle.open(changed)
    content = (path / "glossary.jsonl").read_bytes()
    (path / "glossary.jsonl").write_bytes(content.replace(b"mouse", b"house"))
    with pytest.raises(FmallocError, match=r"glossary\.jsonl"):
        Bundle.open(path)


@pytest.mark.parametrize("source", ["", "Datei"])
def test_terms_of_a_glossary_are_there_once_and_not_empty(source: str, tmp_path: Path) -> None:
    path = write_bundle(tmp_path, "it", glossary={"Datei": "file", "Maus": "mouse"})
    changed = (path / "glossary.jsonl").read_bytes().replace(b"Maus", source.encode())
    (path / "glossary.jsonl").write_bytes(changed)
    manifest = Bundle.read(path).manifest
    files = manifest.files | {"glossary.jsonl": sha256(changed).hexdigest()}
    manifest = manifest.model_copy(update={"files": files})
    (path / "manifest.json").write_bytes(manifest.to_bytes())
    with pytest.raises(FmallocError, match=r"glossary\.jsonl"):
        Bundle.open(path.rename(tmp_path / manifest.bundle_name))


def test_a_memory_and_its_record_go_together(tmp_path: Path) -> None:
    path = write_bundle(tmp_path, "it", memory=[("Datei", "file")])
    manifest = Bundle.read(path).manifest.model_copy(update={"memory": None})
    (path / "manifest.json").write_bytes(manifest.to_bytes())
    with pytest.raises(FmallocError, match=r"memory\.sqlite and `memory` go together"):
        Bundle.read(path.rename(tmp_path / manifest.bundle_name))
