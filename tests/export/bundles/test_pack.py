"""Packed bundles: the same names, digests and translations, stored as differences; damaged ones are refused."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fmalloc_export.bundles.pack import unpack
from fmalloc_export.bundles.publish import writing
from fmalloc_export.bundles.sharing import link_equal_files
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.bundle.packed import PackedFile
from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.live.translator import Translator
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256, sync_directory
from tests.support.bundles import CPU, SENTENCES, make_live
from tests.support.packing import delta_of, packed, unpacked, write_family

TEXT = SENTENCES["it"][0]


def tree(directory: Path) -> dict[str, bytes]:
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files if path.name != ".lock"}


@pytest.fixture(scope="module", params=["float32", "int8"])
def family(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Plain bundles that no test changes."""
    path: Path = tmp_path_factory.mktemp("family") / "bundles"
    write_family(path, quantization=request.param)
    return path


@pytest.fixture
def plain(family: Path, tmp_path: Path) -> Path:
    shutil.copytree(family, tmp_path / "bundles")
    return tmp_path / "bundles"


def test_packing_and_unpacking_give_the_same_bytes(plain: Path) -> None:
    before = tree(plain)
    packed(plain)
    for path in plain.glob("*@*"):
        bundle = Bundle.open(path)
        assert bundle.packed == {"model/model.bin"}
        assert not (path / "model" / "model.bin").exists()
        files = bundle.model_files()
        assert files is not None
        assert {f"{path.name}/model/{name}": data for name, data in files.items()}.items() <= before.items()
    deltas = sorted(path.stat().st_size for path in plain.glob("*@*/model/*.delta"))
    assert max(deltas) < 0.4 * len(before[next(name for name in before if name.endswith("model.bin"))])
    assert len(list((plain / "shared").iterdir())) == 1
    unpacked(plain)
    assert {name: data for name, data in tree(plain).items() if not name.startswith("shared/")} == before


def test_packed_bundles_translate_and_are_taken_over_by_a_running_server(plain: Path) -> None:
    registry = Registry(plain, CPU)
    registry.load()
    expected = {domain: registry.snapshot().translate([TEXT], domain)[0] for domain in registry.snapshot().bundles}
    size = registry.snapshot().models.used
    packed(plain)
    paths = sorted(plain.glob("*@*"))
    again = Registry(plain, CPU).load()
    assert {domain: again.translate([TEXT], domain)[0] for domain in expected} == expected
    assert again.models.used == size
    make_live(plain, paths[0])
    registry.refresh()
    assert sorted(registry.snapshot().bundles) == [paths[0].name.partition("@")[0]]
    make_live(plain, *paths)
    registry.refresh()
    assert {domain: registry.snapshot().translate([TEXT], domain)[0] for domain in expected} == expected
    assert registry.failure is None


def test_a_later_bundle_is_packed_against_the_file_that_is_shared_already(plain: Path) -> None:
    names = sorted(path.name for path in plain.glob("*@*"))
    packed(plain, names[1])
    (shared,) = (plain / "shared").iterdir()
    packed(plain)
    assert list((plain / "shared").iterdir()) == [shared]
    # Also when no bundle is left whose own file it is.
    unpacked(plain)
    owner = next(path for path in plain.glob("*@*") if sha256(path / "model" / "model.bin") == shared.name)
    packed(plain, *(path.name for path in plain.glob("*@*") if path != owner))
    (late,) = sorted(path for path in plain.glob("*@*") if path != owner)[:1]
    shutil.rmtree(owner)
    with writing(plain):
        unpack(plain, [Bundle.open(late)])
    packed(plain, late.name)
    assert [path.name for path in (plain / "shared").iterdir()] == [
        PackedFile.open(late / "model" / "model.bin.delta", plain / "shared").delta.reference
    ]


def test_files_of_no_known_format_are_refused_and_stay_whole(plain: Path) -> None:
    for path in sorted(plain.glob("*@*")):
        (path / "model" / "model.bin").unlink()
        (path / "model" / "model.bin").write_bytes(path.name.encode() * 100)
        manifest = Bundle.read(path).manifest
        files = {**manifest.files, "model/model.bin": sha256(path / "model" / "model.bin")}
        manifest = manifest.model_copy(update={"files": files})
        (path / "manifest.json").write_bytes(manifest.to_bytes())
        path.rename(plain / manifest.bundle_name)
    before = tree(plain)
    with pytest.raises(FmallocError, match="model.bin: not a CTranslate2 model: binary version"):
        packed(plain)
    assert tree(plain) == before


def test_ten_domains_take_little_more_disk_than_one(tmp_path: Path) -> None:
    write_family(tmp_path, tuple(f"domain{index}" for index in range(10)))
    packed(tmp_path)
    models = [path.stat().st_size for path in tmp_path.glob("*@*/model/model.bin.delta")]
    (shared,) = (tmp_path / "shared").iterdir()
    assert len(models) == 10
    assert sum(models) + shared.stat().st_size < 2 * shared.stat().st_size


def test_a_reader_takes_the_plain_file_where_a_writer_was_stopped_between_the_two(own_packed_bundles: Path) -> None:
    delta = delta_of(own_packed_bundles)
    path = delta.parent.parent
    content = Bundle.open(path).model_files()
    assert content is not None
    (path / "model" / "model.bin").write_bytes(content["model.bin"])
    assert Bundle.open(path).model_files() is None
    Translator.load(Bundle.open(path), CPU).replay_golden()
    unpacked(own_packed_bundles)
    assert not delta.exists()


def test_a_bundle_that_is_packed_while_it_is_loaded_loads(
    own_packed_bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked(own_packed_bundles)
    bundle = Bundle.open(delta_of_plain(own_packed_bundles))
    files = Bundle.model_files
    calls: list[object] = []

    def then_packed(self: Bundle) -> object:
        found = files(self)
        if not calls:
            packed(own_packed_bundles)
        calls.append(found)
        return found

    monkeypatch.setattr(Bundle, "model_files", then_packed)
    Translator.load(bundle, CPU).replay_golden()
    assert [found is None for found in calls] == [True, False]


class Stopped(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("act", [packed, unpacked])
def test_a_writer_that_stops_anywhere_leaves_whole_bundles(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], None]
) -> None:
    expected = tree(plain)
    if act is unpacked:
        packed(plain)
    done, moment = False, 0
    while not done:
        moment += 1
        left = [moment]
        bundles = Path(shutil.copytree(plain, tmp_path / f"{moment}"))

        def stop(call: Callable[..., object], left: list[int] = left) -> Callable[..., object]:
            def counted(*arguments: object, **named: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    raise Stopped
                return call(*arguments, **named)

            return counted

        with monkeypatch.context() as patch:
            for name in ("replace", "unlink"):
                patch.setattr(Path, name, stop(getattr(Path, name)))
            patch.setattr("fmalloc_export.bundles.pack.sync_directory", stop(sync_directory))
            try:
                act(bundles)
                done = left[0] > 0
            except Stopped:
                pass
        for path in bundles.glob("*@*"):
            bundle = Bundle.open(path)
            files = bundle.model_files() or {"model.bin": (bundle.model / "model.bin").read_bytes()}
            assert files["model.bin"] == expected[f"{path.name}/model/model.bin"]
        act(bundles)
        assert {bool(Bundle.open(path).packed) for path in bundles.glob("*@*")} == {act is packed}
        shutil.rmtree(bundles)
    assert moment > 9


def delta_of_plain(bundles: Path) -> Path:
    (path,) = bundles.glob("it@*")
    return path


def test_bundles_in_one_place_share_equal_files(plain: Path, tmp_path: Path) -> None:
    one, other = sorted(plain.glob("*@*"))[:2]
    before = tree(plain)
    link_equal_files(Bundle.open(one), plain, tmp_path)
    link_equal_files(Bundle.open(other), plain, tmp_path)
    same = "tokenizer/source.spm"
    assert (one / same).samefile(other / same)
    assert (one / same).samefile(one / "tokenizer/target.spm")
    assert not (one / "model/model.bin").samefile(other / "model/model.bin")
    assert tree(plain) == before


def test_damaged_files_are_not_shared_and_no_links_means_copies(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, third = sorted(plain.glob("*@*"))
    for path in (other, third):
        (path / "tokenizer" / "source.spm").write_bytes(b"damaged")
        (path / "tokenizer" / "target.spm").write_bytes(b"damaged")
    before = tree(one)
    link_equal_files(Bundle.read(one), plain, tmp_path)
    assert tree(one) == before

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    link_equal_files(Bundle.read(one), plain, tmp_path)
    packed(plain, one.name)
    assert Bundle.open(one).packed
    assert tree(one).keys() == {name.replace("model.bin", "model.bin.delta") for name in before}
