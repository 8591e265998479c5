"""fmalloc verify; and that nothing goes live that fails its own golden translations."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from fmalloc_export.bundles.pack import pack
from fmalloc_export.bundles.publish import CPU, put_live, remove, writing
from fmalloc_export.checks.golden import RECORDS, choose_golden
from fmalloc_export.commands.export import export
from fmalloc_runtime.bundle.bundle import Bundle, GoldenRecord, LiveIndex, Manifest, lines_of
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_shared.commands.verbs import main
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256
from tests.support.bundles import SENTENCES, bundle_of, make_live, write_bundle
from tests.support.packing import write_family
from tests.support.stores import PAIRS, write_store


def verify(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, arguments)])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = write_store(tmp_path_factory.mktemp("made") / "store").path
    return path


@pytest.fixture(scope="module")
def exported(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """it in float32 and odd in int8; no test changes them."""
    output: Path = tmp_path_factory.mktemp("made") / "bundles"
    for task, quantization in (("it", "float32"), ("odd", "int8")):
        arguments = ["--store", str(store), "--output-dir", str(output), "--task", task]
        result = CliRunner().invoke(export, [*arguments, "--quantization", quantization])
        assert result.exit_code == 0, result.output
    return output


@pytest.fixture
def bundles(exported: Path, tmp_path: Path) -> Path:
    shutil.copytree(exported, tmp_path / "bundles")
    return tmp_path / "bundles"


def rewritten(bundle: Path, name: str, content: bytes) -> Path:
    """The bundle with another file, and a manifest and a name that say that this is as it should be."""
    (bundle / name).unlink()
    (bundle / name).write_bytes(content)
    manifest = Manifest.read(bundle / "manifest.json")
    manifest = manifest.model_copy(update={"files": {**manifest.files, name: sha256(bundle / name)}})
    (bundle / "manifest.json").write_bytes(manifest.to_bytes())
    return bundle.rename(bundle.with_name(manifest.bundle_name))


def test_bundles_are_what_their_store_gives(store: Path, exported: Path) -> None:
    result = verify(bundle_of(exported, "odd"), "--store", store)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) == 5
    assert [line.split()[0] for line in lines[1:5]] == ["files", "golden", "source", "recompiled"]
    assert "FAILED" not in result.output
    assert lines[4].endswith("parity holds, and every byte is the same")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
@pytest.mark.parametrize("packed", [False, True])
def test_weights_of_onnx_graphs_are_read(store: Path, tmp_path: Path, value: float | None, packed: bool) -> None:
    arguments = ["--store", str(store), "--output-dir", str(tmp_path), "--task", "it", "--engine", "onnx"]
    assert CliRunner().invoke(export, [*arguments, "--quantization", "float32"]).exit_code == 0
    bundle = bundle_of(tmp_path, "it")
    if value is not None:
        data = bytearray((bundle / "model" / "base.onnx_data").read_bytes())
        data[:4] = np.float32(value).tobytes()
        bundle = rewritten(bundle, "model/base.onnx_data", bytes(data))
    if packed:
        with writing(tmp_path):
            pack(tmp_path, [Bundle.open(bundle)])
    result = verify(bundle)
    (line,) = [line for line in result.output.splitlines() if line.startswith("  tensors")]
    if value is None:
        assert result.exit_code == 0 and line.endswith("in its graphs, all finite")
    else:
        assert result.exit_code == 2 and "has a value that is NaN or infinite" in line


def test_packed_bundles_are_verified_as_plain_ones_are(bundles: Path) -> None:
    with writing(bundles):
        pack(bundles, [Bundle.open(path) for path in bundles.glob("*@*")])
    result = verify(bundles)
    assert result.exit_code == 0, result.output
    assert result.output.count("as they were written, packed") == 2
    (shared, *_) = sorted((bundles / "shared").iterdir())
    shared.write_bytes(shared.read_bytes()[:-9])
    result = verify(bundles)
    assert result.exit_code == 2
    assert f"{shared}" in result.output and "1 of 2 bundles failed" in result.output


def test_a_bundle_that_was_changed_consistently_fails_against_its_store(store: Path, bundles: Path) -> None:
    routing = (bundle_of(bundles, "odd") / "routing.safetensors").read_bytes()
    changed = rewritten(bundle_of(bundles, "it"), "routing.safetensors", routing[:-4] + b"\x09\0\0\0")
    assert verify(changed).exit_code == 0
    result = verify(changed, "--store", store)
    assert result.exit_code == 2
    assert "which differs in routing.safetensors:" in result.output
    assert "Error: 1 of 1 bundles failed" in result.output


def test_another_store_is_told(exported: Path, tmp_path: Path) -> None:
    other = write_store(tmp_path / "store", samples=PAIRS[:3])
    result = verify(bundle_of(exported, "odd"), "--store", other.path)
    assert result.exit_code == 2
    assert "source       FAILED: it was compiled from store" in result.output


def test_damage_and_wrong_arguments_are_named(bundles: Path, tmp_path: Path) -> None:
    (bundle_of(bundles, "it") / "golden.jsonl").unlink()
    result = verify(bundle_of(bundles, "it"), bundle_of(bundles, "odd"))
    assert result.exit_code == 2
    assert "files        FAILED" in result.output and "golden.jsonl: missing" in result.output
    assert "Error: 1 of 2 bundles failed" in result.output
    assert "neither a memory store nor a bundle nor a directory of bundles" in verify(tmp_path).output
    assert verify(tmp_path / "nowhere").exit_code == 2
    assert "--calibration goes with --store" in verify(bundles, "--calibration", tmp_path).output
    assert verify().exit_code == 2


def test_a_bundle_without_its_calibration_text_says_what_is_missing(store: Path, bundles: Path) -> None:
    path = bundle_of(bundles, "it")
    manifest = json.loads((path / "manifest.json").read_bytes())
    manifest["level"], manifest["source"]["calibration"] = "O1", "0" * 64
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "manifest.json").write_bytes(Manifest.read(path / "manifest.json").to_bytes())
    path = path.rename(path.with_name(Manifest.read(path / "manifest.json").bundle_name))
    result = verify(path, "--store", store)
    assert result.exit_code == 2
    assert f"calibrated with the text whose SHA-256 is {'0' * 64}: give that with --calibration" in result.output


def test_a_bundle_that_fails_its_golden_translations_does_not_go_live(tmp_path: Path) -> None:
    good, *_ = write_family(tmp_path, ("it",))
    live = (tmp_path / "live.json").read_bytes()
    bad = write_bundle(tmp_path, "it", golden=(GoldenRecord(source=SENTENCES["it"][0], translation="else"),))
    with pytest.raises(FmallocError, match=r"golden\.jsonl record 1: .* expected 'else'"):
        put_live(tmp_path, bad.name)
    assert (tmp_path / "live.json").read_bytes() == live
    put_live(tmp_path, good.name)


def test_exporting_onto_a_damaged_bundle_leaves_what_is_live(store: Path, bundles: Path) -> None:
    bundle = bundle_of(bundles, "it")
    make_live(bundles, bundle_of(bundles, "odd"))
    records = [record.model_copy(update={"translation": "else"}) for record in Bundle.open(bundle).golden()]
    (bundle / "golden.jsonl").unlink()
    (bundle / "golden.jsonl").write_bytes(lines_of(records))
    arguments = ["--store", str(store), "--output-dir", str(bundles), "--task", "it"]
    result = CliRunner().invoke(export, arguments)
    assert result.exit_code == 2
    assert "golden.jsonl: sha256 is" in result.output and "--force writes it again" in result.output
    assert list(LiveIndex.of(bundles).domains) == ["odd"]


def test_exporting_again_leaves_a_packed_bundle_packed(store: Path, bundles: Path) -> None:
    with writing(bundles):
        pack(bundles, [Bundle.open(path) for path in bundles.glob("*@*")])
    arguments = ["--store", str(store), "--output-dir", str(bundles), "--task", "it"]
    result = CliRunner().invoke(export, arguments)
    assert result.exit_code == 0, result.output
    assert "already there, unchanged" in result.output
    assert Bundle.open(bundle_of(bundles, "it")).packed


def test_a_writer_whose_lock_was_removed_publishes_nothing(bundles: Path) -> None:
    name = bundle_of(bundles, "it").name
    with writing(bundles):
        (bundles / "live.json").unlink()
        (bundles / ".lock").unlink()
        with writing(bundles):
            pass  # another writer was let in meanwhile
        for write in (lambda: put_live(bundles, name), lambda: remove(bundles, [name])):
            with pytest.raises(FmallocError, match=r"\.lock: was removed or replaced"):
                write()
    assert not (bundles / "live.json").exists() and (bundles / name).is_dir()


def test_golden_records_do_not_depend_on_their_neighbours(exported: Path) -> None:
    for domain in ("it", "odd"):
        bundle = Bundle.open(bundle_of(exported, domain))
        translator = Translator.load(bundle, CPU)
        records = bundle.golden()
        assert len(records) == RECORDS == len({record.source for record in records})
        for record in reversed(records):
            assert translator.translate([record.source])[0].text == record.translation
        assert choose_golden(translator, ["", "  ", records[1].source, records[0].source, records[1].source]) == [
            records[1],
            records[0],
        ]


def test_what_a_coarser_computation_changes_comes_last(exported: Path) -> None:
    translator = Translator.load(Bundle.open(bundle_of(exported, "odd")), CPU)
    words = sorted({word for pair in PAIRS for word in pair.source.split()})
    texts = [*words[:16], *(f"{one.source} {other.source}" for one, other in zip(PAIRS[:8] * 2, PAIRS, strict=False))]
    coarse = EngineSettings(device="cpu", compute_type="float32", intra_threads=1)
    other = Translator.load(translator.bundle, coarse)
    same = [translator.translate([text])[0].text == other.translate([text])[0].text for text in texts]
    robust = {text for text, agrees in zip(texts, same, strict=True) if agrees}
    assert 0 < len(robust) < len(texts)
    chosen = {record.source for record in choose_golden(translator, texts)}
    assert robust <= chosen or chosen <= robust
