"""fmalloc eval on stores, bundles and plain models: what it measures, keeps, compares and refuses."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import sacrebleu
from click.testing import CliRunner, Result

from fmalloc.corpus import read_corpus
from fmalloc.evaluation.evaluate import evaluate_test
from fmalloc.model.assembly import load_sliced
from fmalloc.store.store import Store
from fmalloc_export.commands.eval import evaluate as main
from fmalloc_export.evaluation.results import Results
from fmalloc_export.evaluation.scoring import Evaluation, TestPairs
from fmalloc_export.evaluation.systems import Systems
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.live.translator import EngineSettings
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_shared.commands import progress
from tests.support.bundles import SENTENCES, bundle_of
from tests.support.corpora import LANGUAGES


@pytest.fixture(autouse=True)
def progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step, also where no bar can be drawn."""
    monkeypatch.setattr(progress, "_every", 0.0)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert not isinstance(result.exception, Exception), result.exception
    return result


def scores(path: Path) -> dict[tuple[str, str], Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return {(score["model"], score["test"]): score for score in content["scores"]}


@pytest.fixture(scope="module")
def measured(learned: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results.json and translations of all models of the learned store on two test sets. Read only."""
    folder = tmp_path_factory.mktemp("measured")
    tests = ("--test", corpora / "office" / "test.tsv", "--test", f"fun={corpora / 'games'}")
    result = run(
        learned,
        *tests,
        "--beam-size",
        2,
        "--output",
        folder / "results.json",
        "--translations",
        folder / "translations",
    )
    assert result.exit_code == 0, result.output
    return folder


def test_a_store_is_a_matrix_of_models_and_test_sets(measured: Path, learned: Path, corpora: Path) -> None:
    found = scores(measured / "results.json")
    assert set(found) == set(itertools.product(("base", "general", "office", "games"), ("office", "fun")))
    store = Store.open(learned)
    # The store scored its test sets with the same search when it learned: the same figures must come out.
    in_store = {
        ("base", "office"): store.description.base_scores.domains["office"],
        ("general", "fun"): store.description.general_scores.domains["games"],
        ("office", "office"): store.task("office").scores.domains["office"],
        ("games", "fun"): store.task("games").scores.domains["games"],
    }
    for cell, expected in in_store.items():
        assert {key: found[cell][key] for key in expected.model_dump()} == expected.model_dump()
    pairs = read_corpus(corpora / "games", LANGUAGES).test
    model, tokenizer = load_sliced(store, "office")
    expected = evaluate_test(model, tokenizer, pairs, LANGUAGES, beam_size=2).score
    assert found["office", "fun"]["bleu"] == expected.bleu and found["office", "fun"]["nll"] == expected.nll


def test_translations_are_what_was_scored(measured: Path, corpora: Path) -> None:
    references = [pair.target for pair in read_corpus(corpora / "office", LANGUAGES).test]
    texts = (measured / "translations" / "office" / "office.txt").read_text(encoding="utf-8").splitlines()
    found = scores(measured / "results.json")["office", "office"]
    assert sacrebleu.corpus_bleu(texts, [references]).score == found["bleu"]
    assert sacrebleu.corpus_chrf(texts, [references]).score == found["chrf"]


def test_results_keep_no_sentence_and_no_path(measured: Path, learned: Path) -> None:
    text = (measured / "results.json").read_text(encoding="utf-8")
    assert "dog" not in text and "Hund" not in text
    assert str(learned) not in text and "/" not in text
    content = json.loads(text)
    assert set(content["versions"]) == {"fmalloc", "torch", "transformers", "ctranslate2", "sacrebleu"}
    assert "bs:1000" in content["signatures"]["chrf"]
    assert max(len(line) for line in text.splitlines()) < 200
    Results.read(measured / "results.json").write(measured / "again.json")
    assert (measured / "again.json").read_text(encoding="utf-8") == text


def test_what_is_known_is_not_translated_again(measured: Path, learned: Path, corpora: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    output.write_bytes((measured / "results.json").read_bytes())
    arguments = ("--test", f"renamed={corpora / 'office'}", "--beam-size", 2, "--task", "office", "--task", "general")
    result = run(learned, *arguments, "--output", output)
    assert "office on" not in result.stderr and "general on" not in result.stderr
    before = scores(measured / "results.json")["office", "office"]
    assert scores(output)["office", "renamed"] == before | {"test": "renamed"}
    result = run(learned, *arguments, "--test", f"new={corpora / 'general'}", "--output", output)
    assert "office on new" in result.stderr and "office on renamed" not in result.stderr
    other_beam = run(learned, "--task", "office", "--test", corpora / "office", "--beam-size", 1, "--output", output)
    assert "office on office" in other_beam.stderr


def test_a_run_that_was_stopped_goes_on(learned: Path, corpora: Path, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(results: Results) -> None:
        results.write(output)
        raise StoppedError

    output = tmp_path / "results.json"
    test = TestPairs.read(str(corpora / "office"), LANGUAGES).first(4)
    with pytest.raises(StoppedError):
        Evaluation(Systems.find(learned, ["general", "office"]), (test,), 1).run(None, stop)
    assert set(scores(output)) == {("general", "office")}
    arguments = ("--test", corpora / "office", "--sentences", 4, "--beam-size", 1, "--task", "office")
    against = run(learned, *arguments, "--against", output)
    assert against.exit_code == 2 and "no score of office on office" in against.stderr
    result = run(learned, *arguments, "--task", "general", "--output", output)
    assert "office on office" in result.stderr and "general on office" not in result.stderr


def test_a_difference_within_one_run(measured: Path, learned: Path, corpora: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    output.write_bytes((measured / "results.json").read_bytes())
    result = run(
        learned,
        "--test",
        corpora / "office",
        "--beam-size",
        2,
        "--against",
        "general",
        "--output",
        output,
        "--device",
        "cpu",
    )
    content = json.loads(output.read_text(encoding="utf-8"))
    assert {found["model"] for found in content["differences"]} == {"base", "office", "games"}
    (found,) = [d for d in content["differences"] if (d["model"], d["metric"]) == ("office", "bleu")]
    cells = scores(output)
    assert found["difference"] == cells["office", "office"]["bleu"] - cells["general", "office"]["bleu"]
    assert found["interval"][0] > 0 and found["p_value"] < 0.01
    assert "Difference from general" in result.stdout and "< 0.001" in result.stdout


def test_a_plain_model_against_results_and_against_a_folder(
    measured: Path, learned: Path, base: Path, corpora: Path, tmp_path: Path
) -> None:
    only_base, output = tmp_path / "base.json", tmp_path / "plain.json"
    test = ("--test", corpora / "office", "--beam-size", 2)
    run(learned, "--task", "base", *test, "--output", only_base)
    run(base, *test, "--against", only_base, "--output", output)
    content = json.loads(output.read_text(encoding="utf-8"))
    assert content["kind"] == "model" and [d["difference"] for d in content["differences"]] == [0, 0]
    assert {d["p_value"] for d in content["differences"]} == {1.0}
    assert {d["against"] for d in content["differences"]} == {"base.json:base"}
    result = run(learned, "--task", "office", *test, "--against", base)
    assert "Difference from model:model" in result.stdout


@pytest.mark.slow
def test_bundles_translate_as_the_server_does(bundles: Path, tmp_path: Path) -> None:
    lines = SENTENCES["it"][:5]
    test = tmp_path / "it.tsv"
    test.write_text("".join(f"{line}\t{line}\n" for line in lines), encoding="utf-8")
    arguments = ("--test", test, "--device", "cpu", "--beam-size", 3)
    output, folder = tmp_path / "results.json", tmp_path / "translations"
    result = run(bundles, *arguments, "--output", output, "--translations", folder)
    assert result.exit_code == 0 and "no NLL" in result.stdout and "NLL " not in result.stdout.replace("no NLL", "")
    served = Registry(bundles, EngineSettings("cpu", intra_threads=1)).load()
    options = TextOptions(splitting="lines", protect=False, search=TranslationOptions(3, 256))
    for domain in SENTENCES:
        texts = (folder / domain / "it.txt").read_text(encoding="utf-8").splitlines()
        assert texts == [" ".join(found.text.split()) for found in served.translate(lines, domain, options)[0]]
        assert scores(output)[domain, "it"]["nll"] is None
    one = run(bundle_of(bundles, "it"), *arguments, "--output", tmp_path / "one.json")
    assert one.exit_code == 0
    assert scores(tmp_path / "one.json") == {("it", "it"): scores(output)["it", "it"]}


def test_without_a_test_set_a_stores_samples_serve(learned: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    result = run(learned, "--task", "games", "--beam-size", 1, "--sentences", 3, "--output", output)
    assert "learning used them for model selection" in result.stdout
    tests = json.loads(output.read_text(encoding="utf-8"))["tests"]
    assert {name: (test["pairs"], test["samples"]) for name, test in tests.items()} == {
        "general": (3, True),
        "office": (3, True),
        "games": (3, True),
    }


def test_what_is_refused(
    learned: Path, base: Path, bundles: Path, corpora: Path, measured: Path, tmp_path: Path
) -> None:
    test, results = corpora / "office" / "test.tsv", measured / "results.json"
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    (tmp_path / "empty.tsv").write_text("", encoding="utf-8")
    content, damaged = json.loads(results.read_bytes()), tmp_path / "damaged.json"
    damaged.write_text(json.dumps(content | {"statistics": content["statistics"][1:]}), encoding="utf-8")
    unnamed = tmp_path / "UPPER CASE.tsv"
    unnamed.write_text("a\tb\n", encoding="utf-8")
    refused: list[tuple[tuple[object, ...], str]] = [
        ((corpora, "--test", test), "expected a memory store"),
        ((learned, "--task", "it", "--test", test), "no model 'it'; it has base, general, office, games"),
        ((bundles,), "no test set: give --test NAME=PATH"),
        ((learned, "--test", tmp_path / "missing.tsv"), "missing.tsv"),
        ((learned, "--test", tmp_path / "empty.tsv"), "empty"),
        ((learned, "--test", unnamed), "domain name 'upper case'"),
        ((learned, "--test", test, "--test", f"office={test}"), "--test office: given twice"),
        ((learned, "--test", test, "--against", "nothing"), "a folder, or one of base, general, office, games"),
        ((learned, "--test", test, "--sentences", 3, "--against", results), "no test set in common"),
        ((base, "--test", test, "--against", results), "it has base, games, general, office, but not model"),
        ((learned, "--test", test, "--against", tmp_path / "other.json"), "Field required"),
        ((learned, "--test", test, "--output", tmp_path / "other.json"), "choose another name"),
        ((learned, "--test", test, "--output", damaged), "scores and statistics"),
        ((base, "--test", test, "--source", "de"), "--source and --target go together"),
    ]
    for arguments, message in refused:
        result = run(*arguments)
        assert (result.exit_code, message in result.stderr) == (2, True), (arguments, result.output)
    assert (tmp_path / "other.json").read_text(encoding="utf-8") == "{}"
