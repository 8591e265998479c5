"""The scoreboard: its arithmetic, its page, and a run of all of it on a tiny store."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.compiler import shapes
from benchmarks.pareto import Point, front, pareto
from benchmarks.scoreboard import shaped
from benchmarks.scoreboard.__main__ import main
from benchmarks.scoreboard.contenders.compiled import shape_of
from benchmarks.scoreboard.energy import Meter, Metered
from benchmarks.scoreboard.limits import Machine, Shape, Work
from benchmarks.scoreboard.overhead import latency, overhead
from benchmarks.scoreboard.page.__main__ import main as page
from benchmarks.scoreboard.page.rows import Row, losses
from benchmarks.scoreboard.servers.libretranslate import LibreTranslate
from fmalloc.store.store import Store
from fmalloc_export.bench.runner import Decoded, Timed
from fmalloc_export.checks.size import flops_per_token
from fmalloc_export.compiler import compile_at
from fmalloc_export.domain.domain import Domain
from fmalloc_export.options import Options
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair
from tests.support.corpora import write_domain
from tests.support.stores import write_store

SVG = "{http://www.w3.org/2000/svg}"
NONE, TWO, TEN = (1.0, 1.0, 1.0), (2.0, 1.9, 2.1), (10.0, 9.0, 11.0)
ROW = Row(
    "-O2", "fmalloc", False, 30.0, 50.0, 10.0, 12.0, 15.0, 100.0, NONE, NONE, 120.0, 8.0, 80.0, None, (0.5, 0.6), 8
)


def test_operations_are_those_that_export_states(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    domain = Domain.load(store, "odd")
    model = compile_at(domain, Options()).after
    shape = shape_of(domain.base.config, model.widths, len(model.target_tokens))
    work = Work(shape, "float32", beam_size=1).record()
    assert work["source_flops"] + work["target_flops"] == flops_per_token(domain, model)


def test_a_bound_is_what_takes_longer() -> None:
    """Two sentences of 3 and 5 tokens that become 4 and 2: the weights are read once per step of a batch."""
    shape = Shape(10, (20,), (20,), 100)
    assert (shape.source_weights(), shape.target_weights()) == (400 + 400 + 200, 600 + 400 + 1000)
    assert replace(shape, recurrent=True).target_weights() == 400 + 400 + 1000
    work = Work(shape, "int8", beam_size=2)
    slow_copy = Machine(1, {"int8": 1e30}, {2: 10.0})
    assert work.seconds(slow_copy, [3, 5], [4, 2], 1) == pytest.approx((1000 + 4 * 2000 + 1000 + 2 * 2000) / 10)
    assert work.seconds(slow_copy, [3, 5], [4, 2], 2) == pytest.approx((1000 + 4 * 2000) / 10)
    slow_product = Machine(1, {"int8": 10.0}, {2: 1e30})
    operations = 2 * 1000 * 8 + 2 * 2 * 2000 * 6
    assert work.seconds(slow_product, [3, 5], [4, 2], 2) == pytest.approx(operations / 10)


def test_what_fits_into_a_cache_is_copied_as_fast_as_that() -> None:
    machine = Machine(1, {}, {2: 50.0, 8: 20.0, 32: 10.0})
    assert [machine.bandwidth(size) for size in (1_000, 2_000_000, 9_000_000, 10**9)] == [50.0, 50.0, 20.0, 10.0]
    best = Machine(1, {"int8": 3.0}, {2: 5.0}).best(Machine(1, {"int8": 4.0}, {2: 1.0}))
    assert (best.products, best.copies) == ({"int8": 4.0}, {2: 5.0})


class Counting:
    """Translates, and lets each counter rise."""

    def __init__(self, zone: Path, values: list[int]) -> None:
        self.zone, self.values = zone, values

    def translate(self, lines: list[str], batch: int) -> Timed:
        del batch
        (self.zone / "energy_uj").write_text(str(self.values.pop(0)))
        return Timed(list(lines), [1.0])

    def decode(self, lines: list[str], batch: int) -> Decoded:
        raise NotImplementedError


def test_joules_are_those_of_batches_and_counters_begin_anew(tmp_path: Path) -> None:
    zone = tmp_path / "intel-rapl:0"
    (tmp_path / "intel-rapl:0:0").mkdir()
    zone.mkdir()
    (zone / "energy_uj").write_text("1000000")
    (zone / "max_energy_range_uj").write_text("5000000")
    meter = Meter.find(tmp_path)
    assert meter.zones == [zone] and meter.reason is None
    metered = Metered(Counting(zone, [1_500_000, 4_000_000, 500_000]), meter)  # type: ignore[arg-type]
    for batch in (1, 32, 32):
        metered.translate(["a"], batch)
    assert metered.joules == pytest.approx([2.5, 1.5])
    assert "no RAPL" in str(Meter.find(tmp_path / "none").reason)
    assert Meter.find(tmp_path / "none").since({}) is None


def test_a_front_has_what_nothing_beats() -> None:
    points = [
        Point(name, "fmalloc", x, y) for name, x, y in (("a", 10, 30), ("b", 20, 25), ("c", 15, 20), ("d", 5, 29))
    ]
    assert [point.name for point in front(points, more_is_better=True)] == ["a", "b"]
    assert [point.name for point in front(points, more_is_better=False)] == ["d", "a"]


def test_a_plot_has_every_point_and_its_name() -> None:
    points = [Point("base <int8>", "CTranslate2", 100.0, 20.0), Point("-O2", "fmalloc", 250.0, 24.0)]
    drawn = ElementTree.fromstring(pareto("Plot", {"law": points, "koran": points[:1]}, "words/s", more_is_better=True))
    spoken = [title.text for title in drawn.iter(f"{SVG}title")][1:]
    assert spoken == ["base <int8>: 100.0, BLEU 20.0", "-O2: 250.0, BLEU 24.0", "base <int8>: 100.0, BLEU 20.0"]
    labels = [text.text for text in drawn.iter(f"{SVG}text")]
    assert "1 base <int8>" in labels and "2 -O2" in labels and "koran" in labels


def test_where_others_win_is_found() -> None:
    """Against those of ours that translate at least as well: a faster but worse one is no defence."""
    worse = replace(ROW, name="-O3", bleu=20.0, latency_ratio=TEN, words_ratio=TEN, disk=1.0)
    better = replace(ROW, name="tuned", group="fine-tuned", bleu=33.0)
    faster = replace(ROW, name="base", group="CTranslate2", bleu=29.0, latency_ratio=TWO, words_ratio=TWO, disk=8.1)
    untrained = replace(ROW, name="tiny11", group="Marian", untrained=True, bleu=None, latency_ratio=TEN)
    found = losses([faster, better, untrained, worse, ROW])
    assert [(loss.what, loss.other.name) for loss in found] == [
        ("ms per sentence", "base"),
        ("words/s", "base"),
        ("BLEU", "tuned"),
    ]
    assert found[0].factor == pytest.approx(2) and found[0].ours is ROW and found[2].factor is None


def test_what_is_asked_for_has_to_be_there(tmp_path: Path) -> None:
    write_store(tmp_path / "store")
    (tmp_path / "corpora").mkdir()
    given = ["--store", tmp_path / "store", "--corpora", tmp_path / "corpora", "--work", tmp_path / "work"]
    for arguments, message in (
        (["--domain", "sea"], "no domain 'sea'; it has it, odd, late"),
        (["--domain", "it"], "no such folder; it has to hold text of it"),
        (["--domain", "it", "--student", "it"], "expected NAME=…"),
    ):
        result = CliRunner().invoke(main, [*map(str, given), *arguments])
        assert result.exit_code == 2 and message in result.output.replace("\n", " "), result.output


def test_an_argos_package_has_one_vocabulary(tmp_path: Path) -> None:
    for side in ("source", "target"):
        (tmp_path / f"{side}.spm").write_text(side)
    work = tmp_path / "work"
    served = LibreTranslate(tmp_path / "python", tmp_path, tmp_path, LanguagePair("de", "en"), work)
    with pytest.raises(FmallocError, match="this base has two"):
        served.command(5000)
    assert "PYTHONPATH" not in served.environment and not work.exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_of_it_on_a_tiny_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part, then the page; run again with --resume, nothing is measured anew."""
    tiny = shapes.Shape("OPUS-MT", 32, 64, 2, 36, "swish", layers=2)
    monkeypatch.setattr(shaped, "OPUS_MT", tiny)
    monkeypatch.setattr(overhead, "_SHAPES", (tiny, replace(tiny, name="small")))
    monkeypatch.setattr(latency, "_SECONDS", 1.0)
    monkeypatch.setattr(latency, "_SWAP_SECONDS", 0.3)
    write_store(tmp_path / "store")
    for name, domain in (("general", "general"), ("it", "office"), ("odd", "games"), ("late", "office")):
        write_domain(tmp_path / "corpora" / name, domain)
    few = ["--domain", "it", "--minutes", "0", "--sentences", "4", "--slow-sentences", "2", "--scored", "8"]
    fewer = ["--threads", "1", "--count", "1", "--count", "4", "--server-seconds", "1"]
    given = ["--store", tmp_path / "store", "--corpora", tmp_path / "corpora", "--work", tmp_path / "work"]
    arguments = [*map(str, given), *few, *fewer, "--results", str(tmp_path)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    entries = found["translation"]["domains"]["it"]["speed"]["1"]["entries"]
    assert {entry["group"] for entry in entries} == {"CTranslate2", "PyTorch", "fmalloc", "random cells"}
    assert {entry["level"] for entry in entries} == {None, "O0", "O1", "O2", "O3"}
    assert all(0 < entry["limits"]["single"]["reached"] < 1 and entry["rounds"] >= 3 for entry in entries)
    assert all(set(entry["tokens"]) == {"sources", "targets"} for entry in entries)
    assert "Marian" in found["translation"]["domains"]["it"]["left_out"]
    disk = {(row["domains"], row["kind"]): row["disk_mb"] for row in found["domains"]["rows"]}
    assert disk[4, "fmalloc, packed"] < disk[4, "fmalloc, plain"] and len(disk) == 6
    assert disk[4, "full copies"] == pytest.approx(4 * disk[1, "full copies"])
    assert all(server["first_answer_seconds"] > 0 for server in found["servers"]["servers"].values())
    said = {goal["name"]: goal for goal in found["goals"]}
    assert said["disk of a further domain, packed, in units of a full copy"]["value"] > 0
    assert "it, 1 thread: where others that translate as well win" in said
    assert said["html: answers per second at most, CTranslate2 wrapper = 1"]["value"] > 0
    assert said["exact: translations as alone"]["met"] and said["answers other than 200, 429 and 503"]["met"]
    assert set(found["overhead"]["saturation"]) == {"learned", "OPUS-MT", "small"}
    assert found["overhead"]["swap"]["swapping"]["swaps"] > 0
    random = found["shape"]["speed"]["1"]["entries"]
    assert all(entry["untrained"] for entry in random) and found["shape"]["quality"] == {}
    assert {count for entry in random for count in entry["tokens"]["targets"]} == {shaped.TOKENS}
    CliRunner().invoke(main, [*arguments, "--resume"], catch_exceptions=False)
    again = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert again["translation"]["domains"] == found["translation"]["domains"]
    written = CliRunner().invoke(
        page, ["--results", str(tmp_path / "bench.json"), "--output-dir", str(tmp_path / "docs")]
    )
    assert written.exit_code == 0, written.output
    text = (tmp_path / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert all(f"| {entry['model']} " in text for entry in entries)
    headings = ("Where we lose", "Many domains", "Servers", "In the shape of", "The server beside the bare engine")
    assert all(f"## {heading}" in text for heading in headings)
    assert Store.open(tmp_path / "store").tasks()[-1].name == "late"
