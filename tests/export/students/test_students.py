"""fmalloc export at -O3: students of the domains of the store that was really learned."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fmalloc.corpus import Pair, read_pairs
from fmalloc.distillation.keeping import make_student
from fmalloc.distillation.settings import DistillationSettings
from fmalloc.model.devices import select
from fmalloc.store.distilled import distilled_models
from fmalloc.store.store import Store
from fmalloc_export.commands.export import export as main
from fmalloc_export.domain.domain import Domain
from fmalloc_export.students import students
from fmalloc_export.students.students import Distillation, Lesson
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.live.translator import Translation, Translator
from fmalloc_shared.commands.verbs import main as verbs
from tests.export.test_compiler import ONE_THREAD
from tests.support.compiled import tokens_agree
from tests.support.stores import tree_bytes

UPDATES = ("--updates", "200")
SHALLOW = ("-O3", "--depth", "1", "--keep", "0.75", "--allow-quality-drop")


def export(store: Path, output: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--store", str(store), "--output-dir", str(output), *arguments])


def exported(store: Path, output: Path, text: Path, *arguments: str, domain: str = "office") -> Bundle:
    given = ["--task", domain, "--calibration", str(text), *UPDATES, *SHALLOW, *arguments]
    result = export(store, output, *given)
    assert result.exit_code == 0, result.output
    return Bundle.open(output / LiveIndex.of(output).domains[domain])


@pytest.fixture(scope="module")
def text(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpora / "office" / "train.tsv"


@pytest.fixture(scope="module")
def sources(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources alone, of another domain."""
    path = tmp_path_factory.mktemp("sources") / "games.txt"
    lines = (corpora / "games" / "train.tsv").read_text().splitlines()
    path.write_text("".join(f"{line.partition(chr(9))[0]}\n" for line in lines[:60]))
    return path


@pytest.fixture(scope="module")
def made(learned: Path, text: Path, sources: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store that has a student of office, and its bundle. Read only."""
    folder = tmp_path_factory.mktemp("students")
    shutil.copytree(learned, folder / "store")
    more = ("--sources", str(sources), "--general", str(corpora / "general"))
    exported(folder / "store", folder / "bundles", text, *more)
    return folder


@pytest.fixture
def bundle(made: Path) -> Bundle:
    return Bundle.open(made / "bundles" / LiveIndex.of(made / "bundles").domains["office"])


def test_a_student_is_compiled_as_its_teacher_would_be(made: Path, bundle: Bundle) -> None:
    manifest = bundle.manifest
    (student,) = distilled_models(made / "store")
    assert (manifest.level, manifest.keep, manifest.source.distilled) == ("O3", 0.75, student.digest)
    assert list(manifest.widths) == ["decoder.0", "encoder.0", "encoder.1"]
    names = ["bake-mask", "drop-dead-cells", "trim-vocabulary", "compact-cells", "pad-width"]
    assert [step.name for step in manifest.passes] == names
    parity = manifest.parity
    assert tokens_agree(parity)
    assert manifest.quality
    assert manifest.quality.chrf_after > 40
    assert manifest.out_of_domain
    assert manifest.out_of_domain.pairs == len(Store.open(made / "store").samples("general"))
    assert manifest.out_of_domain.bound is None
    Translator.load(bundle, ONE_THREAD).replay_golden()


def test_the_record_says_what_it_learned_from(made: Path, text: Path) -> None:
    (student,) = distilled_models(made / "store")
    record = student.record
    pairs = len(text.read_text().splitlines())
    data = {part: found.pairs for part, found in record.claim.data.items()}
    assert data["sources"] == 60
    assert 0 < data["general"] < pairs
    assert pairs - 40 < data["train"] + data["dev"] < pairs
    assert (record.updates, record.claim.settings["depth"], len(record.decoder_layers)) == (200, 1, 1)
    assert record.curve[-1].nll < record.curve[0].nll
    assert not (made / "store" / ".work").exists() or not list((made / "store" / ".work").glob("*@*"))


def test_what_is_held_out_is_in_no_text(learned: Path, text: Path) -> None:
    """Neither among pairs nor sources, nor in general text, where the store's general samples are left out too."""
    store = Store.open(learned)
    domain, general = Domain.load(store, "office"), store.samples("general")
    held_out, pairs = domain.samples[:6], read_pairs(text, store.description.languages)
    more = (held_out[0].source, pairs[0].source, "Heute neu.")
    settings = DistillationSettings(depth=1)
    given = Distillation(settings, {"office": more}, (held_out[1], general[0], Pair("Neu.", "New.")), select("cpu"))
    lesson = Lesson.of(domain, given, [*pairs, *held_out], held_out)
    assert lesson.text.general == (Pair("Neu.", "New."),)
    assert lesson.sources == ("Heute neu.",)
    seen = [pair.source for pair in (*lesson.text.domain, *lesson.text.dev)]
    assert not {pair.source for pair in held_out} & {*seen}
    assert not {pair.source for pair in lesson.text.domain} & {pair.source for pair in lesson.text.dev}


def test_a_student_is_made_once_and_serves_every_engine(
    made: Path, text: Path, sources: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(students, "make_student", None)
    more = ("--sources", str(sources), "--general", str(corpora / "general"))
    again = exported(made / "store", tmp_path / "again", text, *more)
    assert tree_bytes(again.path) == tree_bytes(next((made / "bundles").glob("office@*")))
    onnx = exported(made / "store", tmp_path / "onnx", text, *more, "--engine", "onnx", "--quantization", "int8")
    assert onnx.manifest.source.distilled == again.manifest.source.distilled
    assert tokens_agree(onnx.manifest.parity)


def test_verify_compiles_it_again_from_the_store_alone(made: Path, text: Path, tmp_path: Path) -> None:
    def verify(store: Path) -> Result:
        arguments = ["verify", str(made / "bundles"), "--store", str(store), "--calibration", str(text)]
        return CliRunner().invoke(verbs, arguments)

    result = verify(made / "store")
    assert result.exit_code == 0, result.output
    assert "every byte is the same" in result.output
    shutil.copytree(made / "store", tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / "distilled")
    result = verify(tmp_path / "store")
    assert result.exit_code == 2
    assert re.search(r"recompiled +FAILED: .*no distilled model whose record has the SHA-256", result.output)


def test_a_packed_bundle_of_a_student_translates_as_before(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "bundles", tmp_path / "bundles")
    assert export(made / "store", tmp_path / "bundles", "--task", "games").exit_code == 0
    for form in ("--pack", "--unpack"):
        result = CliRunner().invoke(verbs, ["bundles", str(tmp_path / "bundles"), form])
        assert result.exit_code == 0, result.output
        found = Bundle.open(tmp_path / "bundles" / LiveIndex.of(tmp_path / "bundles").domains["office"])
        Translator.load(found, ONE_THREAD).replay_golden()


def test_a_student_that_loses_too_much_is_not_published_but_kept(store: Store, text: Path, tmp_path: Path) -> None:
    given = ["--task", "office", "--calibration", str(text), "-O3", "--depth", "1", "--updates", "3"]
    result = export(store.path, tmp_path / "bundles", *given)
    assert result.exit_code == 2
    assert re.search(r"-O3 float32 loses .* more than the bound of 0.3", result.output)
    assert re.search(r"What may help: .*more --updates or --minutes.*-O2", result.output)
    assert not list((tmp_path / "bundles").glob("*@*"))
    assert len(list(distilled_models(store.path))) == 1
    explained = export(store.path, tmp_path / "bundles", *given, "--explain")
    assert f"office: the student with 1 of 2 decoder layers is there: {store.path}" in explained.output


def test_general_has_students_too(store: Store, corpora: Path, tmp_path: Path) -> None:
    found = exported(store.path, tmp_path, corpora / "general" / "train.tsv", "--updates", "4", domain="general")
    assert found.manifest.out_of_domain is None
    assert found.manifest.source.task is None


def test_translations_are_kept_over_a_stop(
    store: Store, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translate, asked = Translator.translate, []

    def counted(self: Translator, texts: Sequence[str], *options: object) -> list[Translation]:
        asked.append(len(texts))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return translate(self, texts, *options)

    monkeypatch.setattr(students, "_CHUNK", 100)
    monkeypatch.setattr(Translator, "translate", counted)
    given = ["--task", "office", "--calibration", str(text), *SHALLOW, "--updates", "3"]
    assert export(store.path, tmp_path, *given).exit_code == 130
    monkeypatch.setattr(Translator, "translate", translate)
    (work,) = (store.path / ".work").glob("*@*")
    before = {path.name: path.stat().st_mtime_ns for path in work.glob("translations-*")}
    assert list(before) == ["translations-000000.json"]
    kept: dict[str, int] = {}

    def made(*arguments: object) -> object:
        kept.update({path.name: path.stat().st_mtime_ns for path in work.glob("translations-*")})
        return make_student(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(students, "make_student", made)
    assert export(store.path, tmp_path, *given).exit_code == 0
    assert kept["translations-000000.json"] == before["translations-000000.json"]
    assert len(kept) == 3
    assert not work.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-O2", "--depth", "1"), "--depth: only -O3 makes students, this is -O2"),
        (("-O1", "--sources", "x"), "--sources: only -O3 makes students, this is -O1"),
        (("--minutes", "3"), "--minutes: only -O3 makes students, this is -O0"),
        (("-O3", "--updates", "3", "--minutes", "1"), "give --updates or --minutes, not both"),
        (("-O3", "--minutes", "0"), "minutes 0.0: expected more than 0"),
        (("-O3",), "-O3 needs text of each domain: --calibration office=PATH is missing"),
        (("-O3", "--calibration", "TEXT", "--depth", "2"), "depth 2: the model has 2 decoder layers, expected 1 to 1"),
        (("-O3", "--calibration", "TEXT"), "depth 2: the model has 2 decoder layers, expected 1 to 1"),
        (("-O3", "--calibration", "TEXT", "--sources", "games=TEXT"), "games is not exported; office are"),
        (("-O3", "--calibration", "TEXT", "--depth", "1", "--sources", "TEXT"), "train.tsv:1: has a tab"),
        (("-O3", "--calibration", "TEXT", "--depth", "1", "--general", "none"), "none: no parallel text"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    arguments: tuple[str, ...], message: str, learned: Path, text: Path, tmp_path: Path
) -> None:
    given = (argument.replace("TEXT", str(text)) for argument in arguments)
    result = export(learned, tmp_path, "--task", "office", *given)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not (learned / "distilled").exists()


def test_a_dry_run_says_what_would_be_distilled(learned: Path, text: Path, tmp_path: Path) -> None:
    given = ("--task", "office", "--calibration", str(text), "-O3", "--depth", "1")
    for ask in ("--explain", "--dry-run"):
        result = export(learned, tmp_path / "bundles", *given, ask)
        assert result.exit_code == 0, result.output
        expected = r"office: would distil a student with 1 of 2 decoder layers in 1000 updates, from the learned model"
        assert re.search(expected, result.output)
        assert "until the student is made" in result.output
    assert not (learned / "distilled").exists()
    assert not (learned / ".work").exists() or not list((learned / ".work").glob("*@*"))
    assert not (tmp_path / "bundles").exists()
