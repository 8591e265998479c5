"""fmalloc bench: what it measures beside each other, and what it refuses."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fmalloc_export.bench.contestant import Contestant, converted
from fmalloc_export.bench.rounds import half_width, measure
from fmalloc_export.bench.runner import Decoded, Runner, Timed
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import Translator
from fmalloc_shared.commands.verbs import main
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import write_marian
from tests.support.bundles import CPU, SENTENCES, bundle_of

QUICK = ("--minutes", 0, "--threads", 1)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["bench", *map(str, arguments)])
    assert not isinstance(result.exception, Exception), result.exception
    return result


def text(folder: Path, lines: Sequence[str]) -> Path:
    path = folder / "text.de"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_bundles_beside_each_other(bundles: Path, tmp_path: Path) -> None:
    """References are what the first bundle says: it scores 100, and as it is in the bundle."""
    bundle = bundle_of(bundles, "it")
    said = Translator.load(Bundle.open(bundle), CPU).translate(SENTENCES["it"], TranslationOptions(4, 256))
    test = tmp_path / "test.tsv"
    pairs = zip(SENTENCES["it"], said, strict=True)
    test.write_text("".join(f"{source}\t{answer.text}\n" for source, answer in pairs), encoding="utf-8")
    output = tmp_path / "speed.json"
    result = run(bundles, "--task", "it", "--task", "general", "--test", test, "--output", output, *QUICK)
    assert result.exit_code == 0, result.output
    found = json.loads(output.read_text(encoding="utf-8"))
    first, second = found["models"]
    assert (first["model"], second["model"]) == (bundle.name, bundle_of(bundles, "general").name)
    assert first["bleu"] == pytest.approx(100) and second["bleu"] < 50
    assert found["settings"]["sentences"] == len(SENTENCES["it"]) and found["settings"]["rounds"] >= 3
    for entry in (first, second):
        assert 0 < entry["latency_ms"]["p50"] <= entry["latency_ms"]["p90"] <= entry["latency_ms"]["p99"]
        by_length = entry["latency_ms"]["by_length"].values()
        assert sum(part["sentences"] for part in by_length) == len(SENTENCES["it"])
        assert entry["words_per_second"]["single"] > 0 < entry["words_per_second"]["batched"]
        assert entry["target_tokens_per_second"] > 0 and len(entry["seconds"]["decoded"]) >= 3
        assert all(len(seconds) == len(SENTENCES["it"]) for seconds in entry["seconds"]["single"])
        assert entry["memory_bytes"] is None or entry["memory_bytes"] > 10**7
        assert entry["load_seconds"] > 0 < entry["first_sentence_ms"] and entry["disk_bytes"] > 1000
    assert first["times_as_fast"]["single"] == {"median": 1, "least": 1, "most": 1}
    assert "× is speed relative to the first row" in result.output and bundle.name in result.output


def test_threads_purpose_and_golden_sources(bundles: Path) -> None:
    bundle = bundle_of(bundles, "it")
    result = run(bundle, "--minutes", 0, "--threads", 1, "--threads", 2, "--for", "throughput", "--json")
    found = json.loads(result.stdout)
    assert [entry["threads"] for entry in found["models"]] == [1, 2]
    assert all(entry["latency_ms"] is None and entry["seconds"]["single"] == [] for entry in found["models"])
    assert found["settings"]["text"] == f"{bundle.name}'s golden.jsonl"


def test_what_people_use_instead(bundles: Path, tmp_path: Path) -> None:
    """A model of transformers by itself, and as CTranslate2 converts it: the same translations, but for rounding."""
    write_marian(tmp_path / "base")
    lines = text(tmp_path, ["der hund schläft", "das haus ist alt"])
    result = run(tmp_path / "base", "--sources", lines, "--beam-size", 2, "--quantization", "float32", "--json", *QUICK)
    assert result.exit_code == 0, result.output
    plain, converted = json.loads(result.stdout)["models"]
    assert (plain["model"], plain["kind"]) == ("base", "transformers")
    assert (converted["model"], converted["kind"]) == ("base float32", "ctranslate2")


def test_a_model_of_ctranslate2_has_the_tokens_that_it_is_told(bundles: Path, tmp_path: Path) -> None:
    bundle = bundle_of(bundles, "it")
    shutil.copytree(bundle / "model", tmp_path / "plain")
    assert "name a model with one by --tokenizer" in run(tmp_path / "plain").output
    lines = text(tmp_path, SENTENCES["it"])
    own = Contestant("own", "bundle", bundle, LanguagePair("de", "en"), beam_size=1).load().translate
    other = (
        Contestant("plain", "ctranslate2", tmp_path / "plain", LanguagePair("de", "en"), bundle, beam_size=1)
        .load()
        .translate
    )
    # Defaults of the two searches differ: how random models end is not the same.
    assert [text[:8] for text in own(SENTENCES["it"])] == [text[:8] for text in other(SENTENCES["it"])]
    result = run(tmp_path / "plain", "--tokenizer", bundle, "--sources", lines, "--json", *QUICK)
    assert [entry["model"] for entry in json.loads(result.stdout)["models"]] == ["plain"]


def test_a_dry_run_loads_nothing(bundles: Path) -> None:
    result = run(bundles, "--dry-run")
    assert result.exit_code == 0 and "rounds" not in result.output
    assert all(f"{bundle_of(bundles, name).name}: bundle, " in result.output for name in ("it", "general"))


def test_what_cannot_be_measured_is_named(bundles: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.de"
    empty.write_text("\n\n")
    for arguments, message in (
        ((tmp_path,), f"{tmp_path}: expected bundles (live.json), a bundle"),
        ((bundles, "--task", "sea"), "no domain 'sea' is live; live are general, "),
        ((bundles, "--sources", empty), "empty.de: no text, expected a sentence per line"),
        ((bundles, "--sources", tmp_path / "no.de"), "no.de: no such file"),
        ((bundles, "--sources", empty, "--test", empty), "give --sources or --test"),
        ((bundles, "--output", tmp_path), "is no file; choose another name"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2 and message in result.output.replace("\n", " "), result.output


def test_a_model_that_cannot_be_loaded_is_an_error(bundles: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bundle_of(bundles, "it") / "model", broken)
    (broken / "model.bin").write_bytes(b"no")
    result = run(broken, "--tokenizer", bundle_of(bundles, "it"), "--sources", text(tmp_path, SENTENCES["it"]), *QUICK)
    assert result.exit_code == 2 and "broken: CTranslate2 cannot load it" in result.output


class Steady:
    """Takes as long as it is told for each line."""

    def __init__(self, *seconds: float) -> None:
        self.seconds, self.calls = seconds, 0

    def translate(self, lines: Sequence[str], batch: int) -> Timed:
        took = self.seconds[self.calls % len(self.seconds)]
        self.calls += 1
        return Timed([line.upper() for line in lines], [took * batch] * (len(lines) // batch))

    def decode(self, lines: Sequence[str], batch: int) -> Decoded:
        self.calls += 1
        return Decoded([len(line) for line in lines], [batch] * len(lines), [0.5])


@pytest.mark.parametrize(
    ("seconds", "spread", "time", "rounds"),
    [((1.0,), 0.03, 60, 3), ((1.0, 1.1), 0.001, 0, 3), ((1.0, 1.1), 0.03, 60, 11)],
)
def test_it_goes_on_until_chance_has_little_to_say(
    seconds: tuple[float, ...], spread: float, time: float, rounds: int
) -> None:
    """The first round is not counted. Times that differ by a tenth are known within 3 % after eleven."""
    runners: list[Any] = [Steady(*seconds), Steady(1.0)]
    measured = measure(
        runners,
        ["a", "b"],
        batch=2,
        single=True,
        batched=False,
        spread=spread,
        seconds=time,
        advance=lambda *_, **__: None,
    )
    assert [len(found.single) for found in measured] == [rounds, rounds]
    assert measured[0].texts == ["A", "B"] and runners[0].calls == rounds + 1


class Noting(Steady):
    """Notes whose turn it was, and with how many lines."""

    def __init__(self, name: str, turns: list[tuple[str, int]]) -> None:
        super().__init__(1.0)
        self.name, self.turns = name, turns

    def translate(self, lines: Sequence[str], batch: int) -> Timed:
        self.turns.append((self.name, len(lines)))
        return super().translate(lines, batch)


def test_models_take_turns_every_few_lines() -> None:
    """So that what slows the machine down for some seconds slows them all."""
    turns: list[tuple[str, int]] = []
    runners: list[Any] = [Noting("a", turns), Noting("b", turns)]
    lines = [str(number) for number in range(9)]
    measured = measure(
        runners, lines, batch=9, single=True, batched=True, spread=1, seconds=0, advance=lambda *_, **__: None
    )
    alone = [("a", 4), ("b", 4), ("b", 4), ("a", 4), ("a", 1), ("b", 1)]
    assert turns[:8] == [*alone, ("a", 9), ("b", 9)]
    assert turns[8] == ("b", 4), "the next round begins with the next model"
    assert all(found.texts == lines and len(found.single[0]) == 9 for found in measured)


def test_tokens_to_tokens_is_timed_where_it_is_asked_for() -> None:
    runners: list[Any] = [Steady(1.0)]
    (found,) = measure(
        runners,
        ["a", "bb"],
        batch=2,
        single=False,
        batched=False,
        decoded=True,
        spread=0.1,
        seconds=0,
        advance=lambda *_, **__: None,
    )
    assert found.decoded == [Decoded([1, 2], [2, 2], [0.5])] * 3 and found.rounds() == [[0.5] * 3]


def test_tokens_are_counted_alike_by_every_kind(bundles: Path, tmp_path: Path) -> None:
    """Ends are counted on both sides; what the decoder starts with is not."""
    write_marian(tmp_path / "base")
    languages, lines = LanguagePair("de", "en"), ["der hund schläft", "das haus"]
    plain = Contestant("base", "transformers", tmp_path / "base", languages, beam_size=1)
    (lengths,) = {
        tuple(contestant.load().encode(lines)[1])
        for contestant in (plain, converted(plain, "float32", tmp_path / "converted"))
    }
    assert lengths[0] > lengths[1] > 1
    bundle = Contestant("it", "bundle", bundle_of(bundles, "it"), languages, beam_size=1)
    with Runner.start(bundle, lines[0]) as runner:
        found = runner.decode(SENTENCES["it"], 4)
    translator = Translator.load(Bundle.open(bundle.path), CPU)
    assert found.sources == [len(translator.encode(line)) for line in SENTENCES["it"]]
    said = translator.engine.translate(
        [translator.encode(line) for line in SENTENCES["it"]], (), TranslationOptions(1, translator.maximum_length)
    )
    assert found.targets == [len(best.tokens) + 1 for best, *_ in said] and len(found.seconds) == 2


def test_half_of_an_interval() -> None:
    assert half_width([1.0]) == float("inf") and half_width([2.0, 2.0, 2.0]) == 0
    assert half_width([0.9, 1.1]) == pytest.approx(1.96 * 0.1)
