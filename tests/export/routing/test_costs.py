"""fmalloc routing costs: the matrix of every model on every text, resumed and reused, and the threshold from it."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from fmalloc.corpus import digest
from fmalloc.evaluation.evaluate import MAXIMUM_NEW_TOKENS, score
from fmalloc_export.bundles.publish import writing
from fmalloc_export.commands.costs import costs
from fmalloc_export.routing.costs import Measurement
from fmalloc_export.routing.threshold import Documents, choose_threshold
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.routing.costs import RoutingCosts
from fmalloc_runtime.routing.router import THRESHOLD, Router
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.ngrams import NgramCounts
from tests.support.bundles import SENTENCES, bundle_of, make_live, write_bundle

CPU = EngineSettings(device="cpu", intra_threads=1)
ROUTER = Router({domain: NgramCounts.of(lines) for domain, lines in SENTENCES.items()}, dict.fromkeys(SENTENCES, "x"))
WIDE = np.ones((3, 3)) * 10 - np.eye(3) * 10


@pytest.fixture
def corpora(tmp_path: Path) -> dict[str, Path]:
    """Corpora whose dev text is twelve lines."""
    paths = {}
    for domain, lines in SENTENCES.items():
        paths[domain] = tmp_path / "corpora" / domain
        paths[domain].mkdir(parents=True)
        text = "".join(f"{line}\t{line[::-1]}\n" for line in (lines * 2)[:12])
        for part in ("train", "dev", "test"):
            (paths[domain] / f"{part}.tsv").write_text(text, encoding="utf-8")
    return paths


def measurement(directory: Path, corpora: dict[str, Path], lines: int = 5, beam_size: int = 2) -> Measurement:
    return Measurement.of(directory, corpora, lines=lines, beam_size=beam_size)


def ignore(_lines: int, _cell: str) -> None:
    pass


def run(*arguments: object) -> Result:
    return CliRunner().invoke(costs, [str(argument) for argument in arguments])


def arguments(directory: Path, corpora: dict[str, Path]) -> list[object]:
    texts = [item for domain, path in corpora.items() for item in ("--text", f"{domain}={path}")]
    return [directory, *texts, "--sentences", 4, "--beam-size", 2, "--threads", 1, "--device", "cpu"]


def test_a_cell_is_a_model_on_a_text(own_bundles: Path, corpora: dict[str, Path]) -> None:
    measured = measurement(own_bundles, corpora)
    text = measured.texts["kitchen"]
    assert [pair.source for pair in text.pairs] == [text.lines[index] for index in (0, 2, 4, 7, 9)]
    measured.complete(CPU, ignore)
    costs = measured.result("chrf")
    bundle = Bundle.open(bundle_of(own_bundles, "it"))
    options = TranslationOptions(2, MAXIMUM_NEW_TOKENS)
    texts = [
        item.text for item in Translator.load(bundle, CPU).translate([pair.source for pair in text.pairs], options)
    ]
    expected = score(texts, [pair.target for pair in text.pairs])
    assert costs.matrix["it"]["kitchen"].chrf == pytest.approx(expected.score.chrf, abs=1e-3)
    assert costs.matrix["it"]["kitchen"].bleu == pytest.approx(expected.score.bleu, abs=1e-3)
    assert costs.signatures == expected.signatures
    assert costs.texts["kitchen"].digest == digest(text.pairs) and costs.texts["kitchen"].lines == 5
    assert costs.stale({domain: bundle_of(own_bundles, domain).name for domain in SENTENCES}) is None


def test_a_run_that_was_stopped_goes_on(own_bundles: Path, corpora: dict[str, Path]) -> None:
    class StoppedError(Exception):
        pass

    def stop(_lines: int, cell: str) -> None:
        if cell == "it on it":
            raise StoppedError

    first = measurement(own_bundles, corpora)
    with pytest.raises(StoppedError):
        first.complete(CPU, stop)
    (own_bundles / "..routing.json.scores.1.partial").write_bytes(b"{")  # as of a process that was killed
    second = measurement(own_bundles, corpora)
    assert second.missing == [("it", "it"), ("it", "kitchen"), *(("kitchen", domain) for domain in SENTENCES)]
    measured: list[str] = []
    second.complete(CPU, lambda _lines, note: measured.append(note))
    assert measured == [f"{model} on {text}" for model, text in first.missing]
    second.write(resumed := second.result("chrf"))
    assert [path.name for path in own_bundles.iterdir() if path.name.startswith(".")] == [".lock"]
    whole = measurement(own_bundles, corpora, lines=5)
    assert whole.missing == [] and whole.result("chrf") == resumed == RoutingCosts.of(own_bundles)


def test_only_what_changed_is_measured_again(own_bundles: Path, corpora: dict[str, Path]) -> None:
    before = measurement(own_bundles, corpora)
    before.complete(CPU, ignore)
    before.write(before.result("chrf"))
    assert len(measurement(own_bundles, corpora, beam_size=1).missing) == 9
    assert len(measurement(own_bundles, corpora, lines=6).missing) == 9
    changed = write_bundle(own_bundles, "it", seed=77)
    make_live(own_bundles, *(bundle_of(own_bundles, domain) for domain in ("general", "kitchen")), changed)
    assert measurement(own_bundles, corpora).missing == [("it", domain) for domain in SENTENCES]
    (own_bundles / "routing.json").write_text("{")
    assert len(measurement(own_bundles, corpora).missing) == 9


def test_the_command(own_bundles: Path, corpora: dict[str, Path]) -> None:
    dry = run(*arguments(own_bundles, corpora), "--dry-run")
    assert dry.exit_code == 0 and "9 scores to measure, 36 lines to translate; 0 scores are known" in dry.output
    assert RoutingCosts.of(own_bundles) is None
    result = run(*arguments(own_bundles, corpora))
    assert result.exit_code == 0, result.output
    costs = RoutingCosts.of(own_bundles)
    assert costs is not None and costs.metric == "chrf"
    assert f"threshold {costs.threshold:.2f}, chosen" in result.output
    written = (own_bundles / "routing.json").read_bytes()
    again = run(*arguments(own_bundles, corpora), "--metric", "bleu")
    assert "0 scores to measure, 0 lines to translate; 9 scores are known" in again.output
    assert (own_bundles / "routing.json").read_bytes() != written
    assert run(*arguments(own_bundles, corpora)).exit_code == 0
    assert (own_bundles / "routing.json").read_bytes() == written


def test_what_was_measured_is_kept_while_bundles_are_written(own_bundles: Path, corpora: dict[str, Path]) -> None:
    measured = measurement(own_bundles, corpora)
    measured.complete(CPU, ignore)
    with writing(own_bundles), pytest.raises(FmallocError, match="another process is writing bundles"):
        measured.write(measured.result("chrf"))
    assert RoutingCosts.of(own_bundles) is None
    assert measurement(own_bundles, corpora).missing == []


def test_every_live_domain_needs_text(bundles: Path, corpora: dict[str, Path], own_bundles: Path) -> None:
    make_live(own_bundles, bundle_of(own_bundles, "it"))
    it = f"it={corpora['it']}"
    for given, message in (
        ([bundles, "--text", it], "text of general, kitchen is missing"),
        (
            [bundles, "--text", it, "--text", "law=x"],
            "--text law=…: law is not live; general, it, kitchen",
        ),
        ([bundles, "--text", it, "--text", it], "given twice"),
        ([bundles, "--text", "it"], "expected NAME=PATH"),
        ([own_bundles, "--text", it], "expected two live domains or more to route between, found it"),
        ([corpora["it"], "--text", it], "live.json: cannot be read"),
    ):
        result = run(*given)
        assert result.exit_code == 2 and message in re.sub(r"\s+", " ", result.output), result.output
    with pytest.raises(FmallocError, match="absent"):
        measurement(bundles, {**corpora, "it": corpora["it"] / "absent"})


def test_lines_that_a_model_cannot_take_are_left_out(own_bundles: Path, corpora: dict[str, Path]) -> None:
    dev = corpora["it"] / "dev.tsv"
    long = "Der Server " * 60
    dev.write_text(f"{long}\tlong\n{dev.read_text(encoding='utf-8')}", encoding="utf-8")
    text = measurement(own_bundles, corpora, lines=100).texts["it"]
    assert (len(text.lines), len(text.pairs)) == (13, 12)
    dev.write_text(f"{long}\tlong\n", encoding="utf-8")
    with pytest.raises(FmallocError, match="no line of dev is short enough"):
        measurement(own_bundles, corpora)


def test_documents_weigh_every_domain_and_length_alike() -> None:
    texts = {"general": SENTENCES["general"] * 4, "it": SENTENCES["it"], "kitchen": SENTENCES["kitchen"][:2]}
    found = Documents.of(ROUTER, texts)
    assert len(found) == (32 + 10 + 3) + (8 + 2) + 2
    for index in range(3):
        assert found.weight[found.text == index].sum() == pytest.approx(1 / 3)
    assert found.weight[0] == pytest.approx(1 / 9 / 32)
    # Of `it`, ten lines in a row do not exist: the two other lengths share its weight.
    assert found.weight[found.text == 1][0] == pytest.approx(1 / 6 / 8)


def documents(*groups: tuple[int, int, int, float]) -> Documents:
    """Groups of equal documents: how many, of which text, likeliest to be of which, with which posterior."""
    rows = [group[1:] for group in groups for _ in range(group[0])]
    text, best, score = zip(*rows, strict=True)
    weight = np.full(len(rows), 1 / len(rows))
    return Documents(np.array(text), np.array(best), np.array(score), weight)


def test_where_nothing_is_lost_the_threshold_stays_the_default() -> None:
    threshold, found = choose_threshold(Documents.of(ROUTER, SENTENCES), np.zeros((3, 3)), general=0)
    assert threshold == THRESHOLD == found.default
    assert found.expected.model_dump() == dict.fromkeys(("zero", "default", "chosen", "always_general", "oracle"), 0.0)


def test_general_text_that_looks_like_a_domain_raises_the_threshold() -> None:
    found = documents((300, 0, 1, 0.75), (300, 1, 1, 0.9), (300, 2, 2, 0.95))
    threshold, simulation = choose_threshold(found, WIDE, general=0)
    assert threshold == 0.76  # the nearest to the default above the posterior of the wrong ones
    assert simulation.expected.model_dump() == {
        "zero": pytest.approx(10 / 3, abs=1e-4),
        "default": pytest.approx(10 / 3, abs=1e-4),
        "chosen": 0.0,
        "always_general": pytest.approx(20 / 3, abs=1e-4),
        "oracle": 0.0,
    }


def test_unsure_text_of_a_domain_lowers_the_threshold() -> None:
    found = documents((300, 0, 0, 0.9), (300, 1, 1, 0.4), (300, 2, 2, 0.95))
    threshold, simulation = choose_threshold(found, WIDE, general=0)
    assert threshold == 0.4
    assert (simulation.expected.zero, simulation.expected.chosen) == (0.0, 0.0)
    assert simulation.expected.default == pytest.approx(10 / 3, abs=1e-4)


def test_what_costs_more_weighs_more() -> None:
    """As many documents of a domain are unsure as general ones look like it; the dearer mistake decides."""
    found = documents((300, 0, 1, 0.5), (300, 1, 1, 0.5))
    dear_domain = np.array([[0.0, 2.0], [9.0, 0.0]])
    assert choose_threshold(found, dear_domain, general=0)[0] == 0.5
    assert choose_threshold(found, dear_domain.T, general=0)[0] == THRESHOLD


def test_a_difference_that_may_be_chance_moves_nothing() -> None:
    found = documents((1000, 0, 0, 0.9), (1000, 1, 1, 0.9), (1, 0, 1, 0.8))
    threshold, simulation = choose_threshold(found, WIDE[:2, :2], general=0)
    assert threshold == THRESHOLD
    assert simulation.expected.chosen == simulation.expected.default > 0


def test_the_oracle_may_gain() -> None:
    costs = WIDE.copy()
    costs[1, 2] = -3.0
    assert choose_threshold(Documents.of(ROUTER, SENTENCES), costs, general=0)[1].expected.oracle == -1.0


def test_without_general_there_is_nothing_to_fall_back_on() -> None:
    two = {domain: NgramCounts.of(SENTENCES[domain]) for domain in ("it", "kitchen")}
    threshold, found = choose_threshold(
        Documents.of(Router(two, dict.fromkeys(two, "x")), SENTENCES), WIDE[:2, :2], general=None
    )
    assert threshold == THRESHOLD
    assert found.expected.always_general is None and found.expected.zero == found.expected.default
