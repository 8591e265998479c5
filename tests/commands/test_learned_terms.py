"""A domain learns how terms are given to it, and its bundle gives it those of a glossary."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from fmalloc.model.devices import select
from fmalloc.model.scratch import Shape
from fmalloc.pretraining.pretrain import pretrain
from fmalloc.pretraining.texts import Text
from fmalloc.pretraining.trainable import PretrainingSettings
from fmalloc.store.store import Store
from fmalloc.train import learn_tasks
from fmalloc.training.schedule import Schedule
from fmalloc_export.commands.export import export
from fmalloc_export.commands.verify import verify
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.text.pipeline import work_on
from fmalloc_runtime.text.terms import Entry, Terms
from fmalloc_runtime.text.translation import SourceBatch, TextOptions, advance
from fmalloc_shared.annotations import Markers
from fmalloc_shared.errors import FmallocError
from tests.support.corpora import LANGUAGES, sentences, small_recipe

FEW = {"updates": 4, "warmup_updates": 1, "anneal_updates": 4, "validate_every": 4, "validation_sentences": 4}
LINE = "heute Der Hund sieht die Maus am Abend"


@pytest.fixture(scope="module")
def marked_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose vocabulary has a sign that could stand around a note."""
    folder = tmp_path_factory.mktemp("marked")
    text = folder / "text"
    text.mkdir()
    rows = [f"{source}\t{target}" for source, target in sentences("general")]
    rows += [f"{source} | {source} |\t{target} | {target} |" for source, target in sentences("general")[:40]]
    for part, some in (("train", rows), ("dev", rows[::9]), ("test", rows[::11])):
        (text / f"{part}.tsv").write_text("\n".join(some) + "\n")
    shape = Shape(vocabulary=120, d_model=32, encoder_layers=1, decoder_layers=1, heads=2, ffn=64)
    schedule = Schedule(updates=40, warmup_updates=10, validate_every=40, seed=1)
    settings = PretrainingSettings(
        schedule, batch_tokens=600, learning_rate=4e-3, maximum_length=64, label_smoothing=0.1
    )
    pretrain([Text(text)], folder / "model", LANGUAGES, shape, settings, select("cpu"))
    return folder / "model"


def test_a_learned_domain_reads_the_terms_of_a_glossary(marked_base: Path, corpora: Path, tmp_path: Path) -> None:
    recipe = small_recipe(marked_base, corpora, tmp_path / "store", "office", terminology=True, memory=True, **FEW)
    learn_tasks(recipe)
    store = Store.open(tmp_path / "store")
    assert store.task("office").settings["terminology"] is True
    assert not list((tmp_path / "store").rglob("annotated.jsonl"))
    given = ["--store", str(store.path), "--output-dir", str(tmp_path / "bundles"), "--all"]
    result = CliRunner().invoke(export, given)
    assert result.exit_code == 0, result.output
    markers = {}
    for path in (tmp_path / "bundles").glob("*@*"):
        bundle = Bundle.open(path)
        markers[bundle.manifest.domain] = bundle.manifest.term_markers
        assert bundle.manifest.memory_markers == bundle.manifest.term_markers
        verified = CliRunner().invoke(verify, [str(path), "--store", str(store.path)])
        assert verified.exit_code == 0 and "every byte is the same" in verified.output, verified.output
    assert markers == {"general": None, "office": Markers("|", "|")}
    (path,) = (tmp_path / "bundles").glob("office@*")
    translator = Translator.load(Bundle.open(path), EngineSettings("cpu", intra_threads=1))
    options = TextOptions(terms=Terms([Entry("Hund", "hound")], *LANGUAGES))
    batch = advance(work_on([LINE], options, translator))
    assert isinstance(batch, SourceBatch)
    assert translator.decode(batch.sources[0]) == LINE.replace("Hund", "Hund | hound |")
    (translation,) = translator.translate_texts([LINE], options)
    assert translation.sentences[0].terms is not None


def test_a_base_without_signs_for_it_is_refused(base: Path, corpora: Path, tmp_path: Path) -> None:
    recipe = small_recipe(base, corpora, tmp_path / "store", "office", terminology=True, **FEW)
    with pytest.raises(FmallocError, match="the base knows no signs that could stand around"):
        learn_tasks(recipe)
