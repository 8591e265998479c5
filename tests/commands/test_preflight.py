"""Nothing fails late: what would go wrong at the end of a long step ends it before it begins, dry run or not.

The table's rows are conditions, its columns the verbs that they can befall. Whatever is long (learning, measuring
importance, training a tokenizer, compiling, translating) fails the test as soon as it is called.
"""

import json
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from click.testing import CliRunner

from fmalloc.learning import create, task
from fmalloc.methods.comparison import compare
from fmalloc.model import devices
from fmalloc.store.store import Store
from fmalloc_export import export
from fmalloc_export.evaluation import scoring
from fmalloc_runtime import machine
from fmalloc_runtime.bundle.bundle import EngineInfo
from fmalloc_runtime.live.translator import Translator
from fmalloc_shared.commands.verbs import main
from tests.support.bases import BASES
from tests.support.bundles import SENTENCES, make_live, write_bundle
from tests.support.corpora import write_domain
from tests.support.once import once
from tests.support.stores import PAIRS, commit, write_store

DRY = ("train", "pretrain", "compare", "export", "eval", "eval bundles", "costs")
LONG = [
    (create, "cell_importance"),
    (create, "Scorer"),
    (task, "Training"),
    (compare, "base_scores"),
    ("fmalloc.pretraining.pretrain", "train_tokenizer"),
    ("fmalloc.pretraining.pretrain", "Training"),
    (export, "export_domain"),
    (export, "compile_at"),
    (scoring.Evaluation, "_measure"),
    (Translator, "load"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bases, a store, corpora and bundles. Read only."""

    def build(folder: Path) -> None:
        for kind in ("marian", "fsmt"):
            BASES[kind][0](folder / kind)
        write_store(folder / "store")
        for domain in ("general", "office", "games"):
            write_domain(folder / "text" / domain, domain)
        (folder / "bundles").mkdir()
        make_live(folder / "bundles", *(write_bundle(folder / "bundles", domain) for domain in SENTENCES))

    return once(tmp_path_factory, "preflight", build)


class Case:
    """A folder of its own with everything that verbs need; conditions change it, and the arguments."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.recipe: dict[str, Any] = {
            "base": str(folder / "marian"),
            "general": str(folder / "text" / "general"),
            "store": str(folder / "out"),
            "languages": {"source": "de", "target": "en"},
            "learning": {"updates": 5, "maximum_length": 60},
            "device": "cpu",
            "tasks": [{"name": name, "data": str(folder / "text" / name)} for name in ("office", "games")],
        }
        self.output, self.more = folder / "out", list[str]()

    def arguments(self, verb: str) -> list[str]:
        """The command line of a verb."""
        recipe, text = self.folder / "recipe.yaml", self.folder / "text"
        recipe.write_text(yaml.safe_dump(self.recipe | {"store": str(self.output)}))
        words = {
            "train": ["train", recipe],
            "pretrain": ["pretrain", "--train", text / "general", "--output-dir", self.output, "--updates", 5],
            "compare": ["compare", recipe, "--output-dir", self.output, "--methods", "single,l2"],
            "export": ["export", "--all", "--store", self.folder / "store", "--output-dir", self.output],
            "eval": ["eval", self.folder / "store", "--test", f"it={text / 'office'}", "--translations", self.output],
            "eval bundles": ["eval", self.folder / "bundles", "--test", text / "office", "--output", self.output],
            "costs": ["routing", "costs", self.folder / "bundles"],
        }[verb]
        if verb == "costs":
            for domain in SENTENCES:
                words += ["--text", f"{domain}={text / {'it': 'office', 'kitchen': 'games'}.get(domain, domain)}"]
        return [str(word) for word in (*words, *self.more)]

    def files(self) -> set[Path]:
        """All that lies in the folder, but for the recipe."""
        return {*self.folder.rglob("*")} - {self.folder / "recipe.yaml"}


@pytest.fixture
def case(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    shutil.copytree(made, tmp_path / "case")

    def started(*_: object, **__: object) -> NoReturn:
        raise AssertionError("something long was started")

    for owner, name in LONG:
        if isinstance(owner, str):
            monkeypatch.setattr(f"{owner}.{name}", started)
        else:
            monkeypatch.setattr(owner, name, started)
    return Case(tmp_path / "case", monkeypatch)


def nothing_wrong(_case: Case) -> None:
    """The verbs run as they are."""


def output_is_a_file(case: Case) -> None:
    """A file where a folder is to be."""
    case.output.write_text("mine")


def output_is_a_folder(case: Case) -> None:
    """A folder where a file is to be."""
    case.output.mkdir()


def output_is_below_a_file(case: Case) -> None:
    """No folder can be made there."""
    (case.folder / "file").write_text("mine")
    case.output = case.folder / "file" / "out"


def output_cannot_be_written(case: Case) -> None:
    """A file system in which nobody can make a file."""
    case.output = Path("/proc/fmalloc")


def no_room(case: Case) -> None:
    """A base larger than what is free; it takes no room itself, since nothing was ever written into it."""
    with (case.folder / "marian" / "notes.txt").open("wb") as file:
        file.truncate(shutil.disk_usage(case.folder).free + 10**9)


def a_large_model(case: Case) -> None:
    """More than what is free."""
    case.more = ["--d-model", str(4 * 10**7)]


def without(module: str) -> Callable[[Case], None]:
    """A package that is not installed."""

    def condition(case: Case) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == module or ".emit.onnx" in name]:
            case.patch.delitem(sys.modules, name)
        case.patch.setitem(sys.modules, module, None)
        case.recipe["tensorboard"] = str(case.folder / "curves")
        if module == "sacremoses":
            case.recipe["base"] = str(case.folder / "fsmt")
            del case.recipe["tensorboard"]

    condition.__name__ = f"without_{module}"
    return condition


def without_onnx_engine(module: str) -> Callable[[Case], None]:
    """A package that is not installed, and the engine that needs it."""

    def condition(case: Case) -> None:
        without(module)(case)
        case.more = ["--engine", "onnx"]

    condition.__name__ = f"without_{module}"
    return condition


def lora_without_peft(case: Case) -> None:
    """The last of the methods cannot be run."""
    case.patch.setitem(sys.modules, "peft", None)
    case.more = ["--methods", "single,lora"]


def version_unknown(case: Case) -> None:
    """A library of which pip knows nothing."""

    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    case.patch.setattr(devices, "version", version)


def engine_too_old(case: Case) -> None:
    """The last of the bundles needs a later engine."""
    later = EngineInfo(name="ctranslate2", minimum_version="99.0", quantization="float32")
    newer = write_bundle(case.folder / "bundles", "kitchen", golden=(), engine=later)
    others = [path for path in (case.folder / "bundles").glob("*@*") if not path.name.startswith("kitchen")]
    make_live(case.folder / "bundles", *others, newer)


def held_out_without_text(case: Case) -> None:
    """All that it holds is empty."""
    for part in ("dev", "test"):
        (case.folder / "text" / "office" / f"{part}.tsv").write_text(" \t \n")


def no_text(case: Case) -> None:
    """Nothing to learn from."""
    (case.folder / "text" / "general" / "train.tsv").write_text(" \t \n")


def text_too_long(case: Case) -> None:
    """No pair of the last task is short enough."""
    case.recipe["tasks"][1]["learning"] = {"maximum_length": 2}


def another_order(case: Case) -> None:
    """The second order is wrong."""
    case.more = ["--order", "office,games", "--order", "office"]


def run_with_other_settings(case: Case) -> None:
    """The folder of the last method holds another run."""
    (case.output / "l2-office-games").mkdir(parents=True)
    held = '{"tasks": [["office", {"seed": 9}]], "settings": {}}'
    (case.output / "l2-office-games" / "settings.json").write_text(held)


def work_with_other_settings(case: Case) -> None:
    """A run that was stopped had other settings."""
    (case.folder / ".out.work").mkdir()
    (case.folder / ".out.work" / "settings.json").write_text('{"data": "x"}')


def damaged_settings(content: bytes, folder: str) -> Callable[[Case], None]:
    """Where settings of a run are kept there is something else."""

    def damage(case: Case) -> None:
        (case.folder / folder).mkdir(parents=True)
        (case.folder / folder / "settings.json").write_bytes(content)

    return damage


def task_learned_otherwise(case: Case) -> None:
    """The last task of the recipe was learned before, with other settings."""
    case.output = case.folder / "store"
    case.recipe |= {"base": str(case.folder / "store" / "base"), "sparsity": 0.3}
    case.recipe["tasks"][1]["name"] = "it"


def other_store(case: Case) -> None:
    """The store was made otherwise."""
    case.output = case.folder / "store"


def no_dropout(case: Case) -> None:
    """A base in whose passes nothing differs, so that no cell is more important than another."""
    path = case.folder / "marian" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}))
    case.more = ["--methods", "single,fmalloc"]


def no_free_cell(case: Case) -> None:
    """So few cells are freed that none is left to learn with."""
    case.recipe["sparsity"] = 0.001
    case.more = ["--methods", "single,fmalloc"]


def no_free_cell_left(case: Case) -> None:
    """All cells of the store were claimed."""
    other_store(case)
    case.recipe |= {"base": str(case.folder / "store" / "base"), "sparsity": 0.3}
    store = Store.open(case.output)
    free = {layer: store.cells().free(layer) for layer in store.layers}
    masks = store.mask("general")
    for layer, cells in free.items():
        masks[layer][cells] = True
    commit(store, "all", masks, free, PAIRS, seed=5)


def unknown_target(case: Case) -> None:
    """The last method cannot be applied to the base."""
    case.recipe["methods"] = {"lora": {"targets": ["query"]}}
    case.more = ["--methods", "single,lora"]


def settings_that_contradict(case: Case) -> None:
    """Of the last method, and only together with the recipe's."""
    case.recipe["learning"] |= {"anneal_updates": 30, "validate_every": 30}
    case.recipe["methods"] = {"fmalloc": {"learning": {"validate_every": 2000}}}
    case.more = ["--methods", "single,fmalloc"]


def language_unknown(case: Case) -> None:
    """One that the base has no token for."""
    BASES["m2m100"][0](case.folder / "many")
    case.recipe |= {"base": str(case.folder / "many"), "languages": {"source": "de", "target": "tlh"}}


def too_few_positions(case: Case) -> None:
    """Longer pairs than the model can read."""
    case.more = ["--maximum-length", "513"]


def live_index_damaged(case: Case) -> None:
    """live.json is no JSON."""
    case.output.mkdir()
    (case.output / "live.json").write_text("{")


FOLDERS = ("train", "compare", "export", "eval")
TABLE: list[tuple[Callable[[Case], None], tuple[str, ...], str]] = [
    (output_is_a_file, FOLDERS, "is no folder"),
    (output_is_a_file, ("pretrain",), "exists already; choose another --output-dir"),
    (output_is_a_file, ("eval bundles",), "exists, but is not a results file"),
    (output_is_a_folder, ("eval bundles",), "is no file; choose another name"),
    (output_is_below_a_file, (*FOLDERS, "pretrain"), "cannot be made, {folder}/file is no folder"),
    (output_is_below_a_file, ("eval bundles",), "no folder {folder}/file"),
    (output_cannot_be_written, (*FOLDERS, "pretrain", "eval bundles"), "cannot be written: "),
    (no_room, ("train", "compare"), "are free; make room or choose another place"),
    (a_large_model, ("pretrain",), "are free; make room or choose another place"),
    (without("tensorboard"), ("train", "compare"), "tensorboard is not installed: pip install 'fmalloc[tensorboard]'"),
    (without("sacremoses"), ("train", "compare"), "sacremoses is not installed: pip install 'fmalloc[moses]'"),
    (without_onnx_engine("onnx"), ("export",), "onnx is not installed: pip install 'fmalloc[export]'"),
    (without_onnx_engine("onnxruntime"), ("export",), "pip install 'fmalloc[onnx]'"),
    (lora_without_peft, ("compare",), "peft is not installed: pip install 'fmalloc[compare]'"),
    (version_unknown, ("train", "compare", "eval", "eval bundles"), "its version is not known"),
    (engine_too_old, ("eval bundles", "costs"), "needs CTranslate2 99.0 or newer"),
    (held_out_without_text, ("train", "compare"), "no dev pair is left"),
    (held_out_without_text, ("eval", "eval bundles"), "no pairs to test with"),
    (held_out_without_text, ("costs",), "no dev pair is left"),
    (no_text, ("train", "pretrain", "compare", "costs"), "no train pair is left"),
    (text_too_long, ("train", "compare"), "games: no train pair of at most maximum_length 2 tokens"),
    (another_order, ("compare",), "--order office: expected each of office, games once"),
    (run_with_other_settings, ("compare",), "l2-office-games: holds a run with other"),
    (work_with_other_settings, ("pretrain",), "holds a run with other settings"),
    *(
        (damaged_settings(content, folder), (verb,), "settings.json: ")
        for verb, folder in (("compare", "out/l2-office-games"), ("pretrain", ".out.work"))
        for content in (b"\xff", b"[]", b'{"tasks"')
    ),
    (damaged_settings(b'{"tasks": [1]}', "out/l2-office-games"), ("compare",), "damaged, no settings of a run"),
    (task_learned_otherwise, ("train",), "task 'it' exists already, learned with"),
    (other_store, ("train",), "was made with"),
    (no_dropout, ("train", "compare"), "set dropout (e.g. 0.1)"),
    (no_free_cell, ("train", "compare"), "no free cell is left for task 'office'"),
    (no_free_cell_left, ("train",), "no free cell is left for task 'office'"),
    (unknown_target, ("compare",), "methods.lora.targets query"),
    (settings_that_contradict, ("compare",), "methods.fmalloc.learning: validate_every 2000 is not a multiple of"),
    (language_unknown, ("train", "compare"), "does not know the target language 'tlh'"),
    (too_few_positions, ("pretrain",), "--maximum-length 513: the model has 512 positions"),
    (live_index_damaged, ("export",), "live.json"),
]


@pytest.mark.parametrize(
    ("condition", "verb", "message"),
    [
        pytest.param(condition, verb, message, id=f"{condition.__name__}-{verb}")
        for condition, verbs, message in TABLE
        for verb in verbs
    ],
)
def test_it_fails_before_it_begins(case: Case, condition: Callable[[Case], None], verb: str, message: str) -> None:
    condition(case)
    if verb != "compare" and "--methods" in case.more:
        case.more = []
    before = case.files()
    said = []
    for more in ([], ["--dry-run"]):
        result = CliRunner().invoke(main, [*case.arguments(verb), *more], terminal_width=1000)
        assert result.exit_code == 2 and isinstance(result.exception, SystemExit), (result.output, result.exception)
        assert message.format(folder=case.folder) in result.output, result.output
        said.append([line for line in result.output.splitlines() if line.startswith("Error")])
    assert said[0] == said[1]
    assert case.files() == before


@pytest.mark.parametrize("verb", DRY)
def test_without_trouble_a_dry_run_ends_well_and_leaves_nothing(case: Case, verb: str) -> None:
    """And the run itself comes to what is long: the table would prove nothing else."""
    if verb == "export":
        case.more = ["--explain"]  # a dry run of export runs the passes
    before = case.files()
    result = CliRunner().invoke(main, [*case.arguments(verb), "--dry-run"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert case.files() == before
    case.more = []
    result = CliRunner().invoke(main, case.arguments(verb))
    assert isinstance(result.exception, AssertionError), (result.output, result.exception)


@pytest.mark.parametrize("arguments", [["--version"], ["train", "{}", "--dry-run"], ["doctor", "{}/bundles"]])
def test_a_source_tree_need_not_be_installed(case: Case, arguments: list[str]) -> None:
    installed = metadata.distribution

    def distribution(name: str) -> metadata.Distribution:
        if name == "fmalloc":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    case.patch.setattr(metadata, "distribution", distribution)
    case.patch.setattr(machine, "cpus", lambda: 1.0)  # the doctor compares no threads, for which it would load a model
    words = [word.format(case.folder) for word in arguments]
    if words[0] == "train":
        words = [*case.arguments("train"), "--dry-run"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, (result.output, result.exception)
