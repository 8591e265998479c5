"""Model repositories for Triton: what they hold, their versions, and what the command refuses."""

import runpy
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fmalloc_export.bundles.pack import pack
from fmalloc_export.commands.triton import triton
from fmalloc_export.triton.repository import write_triton_repository
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.triton.routing import read_router
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files
from tests.support.bundles import CPU, SENTENCES, bundle_of, make_live, write_bundle

MODELS = {*SENTENCES, "fmalloc"}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(triton, [str(argument) for argument in arguments])


def live(bundles: Path, **changed: Path) -> None:
    """Let other bundles serve some domains."""
    make_live(bundles, *(changed.get(domain) or bundle_of(bundles, domain) for domain in SENTENCES))


def test_each_domain_is_a_model_with_its_bundle_inside(bundles: Path, tmp_path: Path) -> None:
    done = run(bundles, "--output-dir", tmp_path / "repository")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "repository").iterdir()} == MODELS
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
    for domain in SENTENCES:
        model = tmp_path / "repository" / domain
        bundle = bundle_of(bundles, domain)
        assert sha256_files(model / "1" / bundle.name) == sha256_files(bundle)
        assert {path.name for path in (model / "1").iterdir()} == {"model.py", bundle.name}
        assert f'name: "{domain}"' in (model / "config.pbtxt").read_text()
        assert hasattr(runpy.run_path(str(model / "1" / "model.py"))["TritonPythonModel"], "execute")


def test_the_router_needs_no_weights(bundles: Path, tmp_path: Path) -> None:
    write_triton_repository(bundles, tmp_path / "repository")
    folder = tmp_path / "repository" / "fmalloc" / "1"
    assert not list(folder.rglob("model.bin"))
    router, served = read_router(folder), Registry(bundles, CPU).load().router
    for lines in SENTENCES.values():
        assert router.route(lines) == served.route(lines)


def test_damaged_counts_do_not_route(bundles: Path, tmp_path: Path) -> None:
    write_triton_repository(bundles, tmp_path / "repository")
    folder = tmp_path / "repository" / "fmalloc" / "1"
    name = bundle_of(bundles, "it").name
    shutil.copy(bundle_of(bundles, "kitchen") / "routing.safetensors", folder / name)
    with pytest.raises(FmallocError, match=f"{name}/routing.safetensors: sha256 is"):
        read_router(folder)


def test_options_are_in_the_configuration(bundles: Path, tmp_path: Path) -> None:
    options = (
        "--device",
        "cuda",
        "--instances",
        "3",
        "--threads",
        "2",
        "--batch-texts",
        "64",
        "--queue-seconds",
        "0.01",
    )
    assert run(bundles, "--output-dir", tmp_path / "new", *options, "--queue-requests", "9").exit_code == 0
    text = (tmp_path / "new" / "it" / "config.pbtxt").read_text()
    for line in (
        "max_batch_size: 64",
        "instance_group [ { kind: KIND_GPU count: 3 } ]",
        "max_queue_delay_microseconds: 10000",
        "max_queue_size: 9",
        'parameters { key: "threads" value: { string_value: "2" } }',
    ):
        assert line in text, line
    assert "KIND_CPU" in (tmp_path / "new" / "fmalloc" / "config.pbtxt").read_text()


def test_what_changed_gets_the_next_version_beside_the_last(own_bundles: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    first = dict.fromkeys(MODELS, 1)
    assert write_triton_repository(own_bundles, repository) == first
    stamps = _stamps(repository)
    assert write_triton_repository(own_bundles, repository, force=True) == first
    assert _stamps(repository) == stamps
    for version in (2, 3):
        live(own_bundles, it=write_bundle(own_bundles, "it", seed=40 + version))
        expected = first | {"it": version, "fmalloc": version}
        assert write_triton_repository(own_bundles, repository, force=True) == expected
        for model in ("it", "fmalloc"):
            versions = {path.name for path in (repository / model).iterdir() if path.is_dir()}
            assert versions == {str(version - 1), str(version)}
    assert (repository / "it" / "3" / bundle_of(own_bundles, "it").name).is_dir()


def _stamps(repository: Path) -> Mapping[Path, int]:
    return {path: path.stat().st_mtime_ns for path in repository.rglob("*") if path.is_file()}


def test_a_domain_that_is_not_live_leaves_the_repository(own_bundles: Path, tmp_path: Path) -> None:
    write_triton_repository(own_bundles, tmp_path / "repository")
    make_live(own_bundles, bundle_of(own_bundles, "general"), bundle_of(own_bundles, "it"))
    write_triton_repository(own_bundles, tmp_path / "repository", force=True)
    assert {path.name for path in (tmp_path / "repository").iterdir()} == MODELS - {"kitchen"}
    assert read_router(tmp_path / "repository" / "fmalloc" / "2").domains == ("general", "it")


def test_packed_bundles_become_plain(own_bundles: Path, tmp_path: Path) -> None:
    plain = sha256_files(bundle_of(own_bundles, "it"))
    pack(own_bundles, [Bundle.open(bundle_of(own_bundles, domain)) for domain in SENTENCES], lambda _: None)
    assert list(own_bundles.glob("*@*/model/model.bin.delta"))
    write_triton_repository(own_bundles, tmp_path / "repository")
    assert sha256_files(tmp_path / "repository" / "it" / "1" / bundle_of(own_bundles, "it").name) == plain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "exists; --force updates it"),
        (("--force",), "notes.txt is not a model of a Triton repository; nothing was changed"),
        (("--router", "it", "--force"), "'it' is a domain: choose another name"),
        (("--router", "../it", "--force"), "../it"),
    ],
)
def test_a_folder_that_is_there_is_not_touched(
    bundles: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "notes.txt").write_text("mine")
    done = run(bundles, "--output-dir", tmp_path / "here", *arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert [path.name for path in tmp_path.rglob("*")] == ["here", "notes.txt"]


def test_a_damaged_bundle_is_refused_and_leaves_nothing(own_bundles: Path, tmp_path: Path) -> None:
    (bundle_of(own_bundles, "it") / "model" / "model.bin").write_bytes(b"damaged")
    done = run(own_bundles, "--output-dir", tmp_path / "out" / "repository")
    assert done.exit_code == 2
    assert "model.bin: sha256 is" in done.output
    assert not (tmp_path / "out").exists()
    assert run(tmp_path / "nowhere", "--output-dir", tmp_path / "out").exit_code == 2
