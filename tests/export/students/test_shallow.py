"""fmalloc shallow: a general model with fewer decoder layers, on the store that was really learned."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fmalloc.store.distilled import Distilled, distilled_models
from fmalloc.store.store import Store
from fmalloc_export.students import students
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_shared.commands.verbs import main
from tests.support.stores import tree_bytes

BUDGET = ("--depth", "1", "--updates", "60")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def sources(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sources") / "general.txt"
    lines = (corpora / "general" / "train.tsv").read_text().splitlines()
    path.write_text("".join(f"{line.partition(chr(9))[0]}\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def made(learned: Path, sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a general model of one decoder layer, made from sources alone. Read only."""
    store = tmp_path_factory.mktemp("shallow") / "store"
    shutil.copytree(learned, store)
    result = run("shallow", store, "--sources", sources, *BUDGET)
    assert result.exit_code == 0, result.output
    assert re.search(rf"general: {re.escape(str(store))}/distilled/[0-9a-f]{{12}}\n", result.output)
    assert re.search(r"learned for 60 updates; dev NLL \d\.\d{3}, its teacher's \d\.\d{3}", result.output)
    return store


@pytest.fixture
def student(made: Path) -> Distilled:
    (found,) = distilled_models(made)
    return found


def test_sources_alone_suffice(student: Distilled, made: Path) -> None:
    record = student.record
    data = {part: found.pairs for part, found in record.claim.data.items()}
    assert (record.claim.domain, record.claim.teacher.task, record.claim.start) == ("general", None, None)
    assert data["train"] == data["general"] == 0
    assert data["sources"] > 200
    assert data["dev"] == (data["sources"] + data["dev"]) // 20
    assert record.curve[-1].nll < record.curve[0].nll / 2
    assert Store.open(made).verify()


def test_no_other_model_changes(made: Path, learned: Path) -> None:
    before, after = tree_bytes(learned), tree_bytes(made)
    changed = {name for name in after if after[name] != before.get(name) and not name.startswith(".")}
    assert {Path(name).parts[0] for name in changed} == {"distilled"}


def test_the_same_is_found_again(made: Path, sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(students, "make_student", None)
    result = run("shallow", made, "--sources", sources, *BUDGET)
    assert result.exit_code == 0, result.output
    result = run("shallow", made, "--sources", sources, *BUDGET, "--dry-run")
    assert re.search(r"the student with 1 of 2 decoder layers is there", result.output)


def test_it_is_generals_own_and_the_start_of_every_domain(
    made: Path, student: Distilled, corpora: Path, tmp_path: Path
) -> None:
    shutil.copytree(made, tmp_path / "store")
    output = tmp_path / "bundles"
    given = ["--store", tmp_path / "store", "--output-dir", output, "-O3", *BUDGET, "--keep", "0.9"]
    texts = [f"--calibration={name}={corpora / name / 'train.tsv'}" for name in ("general", "office")]
    result = run("export", "--task", "general", "--task", "office", *texts, *given, "--allow-quality-drop")
    assert result.exit_code == 0, result.output
    live = LiveIndex.of(output).domains
    general, office = (Bundle.open(output / live[name]).manifest for name in ("general", "office"))
    assert general.source.distilled == student.digest
    (own,) = (found for found in distilled_models(tmp_path / "store") if found.digest != student.digest)
    assert office.source.distilled == own.digest
    assert own.record.claim.start == student.digest
    assert own.record.decoder_layers == student.record.decoder_layers
    # What the general model learned is a better start than the layers that it began with.
    assert own.record.curve[0].nll < student.record.curve[0].nll
    assert "began with the decoder layers" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --general, --sources or both: text to learn from"),
        (("--sources", "none.txt"), "none.txt: no such file"),
        (("--sources", "SOURCES", "--updates", "3", "--minutes", "3"), "give --updates or --minutes, not both"),
        (("--sources", "SOURCES", "--minutes", "-1"), "minutes -1.0: expected more than 0"),
        (("--sources", "SOURCES"), "depth 2: the model has 2 decoder layers, expected 1 to 1"),
        (("--general", "SOURCES", "--depth", "1"), "general.txt"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    arguments: tuple[str, ...], message: str, learned: Path, sources: Path
) -> None:
    before = tree_bytes(learned)
    result = run("shallow", learned, *(argument.replace("SOURCES", str(sources)) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert tree_bytes(learned) == before


def test_a_folder_that_is_no_store_is_named(tmp_path: Path, sources: Path) -> None:
    result = run("shallow", tmp_path, "--sources", sources)
    assert result.exit_code == 2
    assert "is " in result.output
    assert "a memory store?" in result.output
