"""fmalloc routing replay: decisions as they were logged, and as other bundles or another threshold would have them."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fmalloc_runtime.bundle.bundle import LiveIndex
from fmalloc_runtime.commands import replay
from fmalloc_runtime.routing.decisions import DecisionLog
from fmalloc_runtime.routing.replay import read_decisions
from fmalloc_runtime.routing.router import AUTO, Route, Router
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.ngrams import NgramCounts
from tests.support.bundles import SENTENCES, bundle_of, make_live
from tests.support.routing_costs import record as costs_record
from tests.support.routing_costs import write as write_costs

ROUTER = Router({domain: NgramCounts.of(lines) for domain, lines in SENTENCES.items()}, dict.fromkeys(SENTENCES, "x"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(replay, [str(argument) for argument in arguments])


def replayed(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def route(domain: str, reason: str = "detected", **scores: float) -> Route:
    return Route(domain, scores[domain], scores, reason, f"{domain}@0123456789ab")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two decisions for it, one of them unsure, one unsure one for general, one that was asked for; no text."""
    path = tmp_path / "log.jsonl"
    log = DecisionLog(path)
    log.record(AUTO, ["a"], route("it", general=0.05, it=0.95))
    log.record(AUTO, ["b"], route("it", general=0.3, it=0.7))
    log.record(AUTO, ["c"], route("general", "unsure", general=0.45, it=0.55))
    log.record("it", ["d"], route("it", "asked for", general=0.9, it=0.1))
    log.close()
    return path


def test_the_same_threshold_changes_nothing(log: Path) -> None:
    found = replayed(log)
    assert found["domains"] == {"general": {"logged": 1, "replayed": 1}, "it": {"logged": 3, "replayed": 3}}
    assert (found["decisions"], found["asked_for"], found["routed_again"], found["changed"]) == (4, 1, 0, [])
    assert found["general_share"] == {"logged": pytest.approx(1 / 3), "replayed": pytest.approx(1 / 3)}
    assert (found["threshold"], found["expected_loss"], found["stale"]) == (0.6, None, None)


def test_another_threshold_moves_what_lies_between(log: Path) -> None:
    higher = replayed(log, "--threshold", 0.8)
    assert higher["changed"] == [{"from": "it", "to": "general", "decisions": 1}]
    assert higher["domains"]["it"] == {"logged": 3, "replayed": 2}
    assert higher["general_share"]["replayed"] == pytest.approx(2 / 3)
    lower = replayed(log, "--threshold", 0.5)
    assert lower["changed"] == [{"from": "general", "to": "it", "decisions": 1}]
    assert replayed(log, "--threshold", 1)["domains"]["it"]["replayed"] == 1  # what was asked for stays


def test_decisions_without_text_stay_general(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = DecisionLog(path)
    log.record(AUTO, [" \n"], route("general", "no text", general=0.5, it=0.5))
    assert replayed(path, "--threshold", 0)["changed"] == []


def test_logged_text_is_routed_again_as_it_was(bundles: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = DecisionLog(path, keep_text=True)
    for domain, lines in SENTENCES.items():
        log.record(AUTO, ["\n".join(lines[:3]), lines[3]], ROUTER.route(lines[:4]))
        log.record(domain, lines, ROUTER.route(lines, domain))
    found = replayed(path, "--bundles", bundles)
    assert (found["decisions"], found["asked_for"], found["routed_again"]) == (6, 3, 3)
    assert found["changed"] == []
    assert found["domains"] == {domain: {"logged": 2, "replayed": 2} for domain in SENTENCES}


def test_a_domain_that_is_not_live_any_more(own_bundles: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = DecisionLog(path, keep_text=True)
    log.record(AUTO, SENTENCES["kitchen"], ROUTER.route(SENTENCES["kitchen"]))
    log.record("kitchen", SENTENCES["kitchen"], ROUTER.route(SENTENCES["kitchen"], "kitchen"))
    make_live(own_bundles, bundle_of(own_bundles, "general"), bundle_of(own_bundles, "it"))
    found = replayed(path, "--bundles", own_bundles)
    assert found["asked_for_not_served"] == 1
    (change,) = found["changed"]
    assert change["from"] == "kitchen" and change["to"] in ("general", "it")


def test_the_threshold_and_the_losses_of_routing_json(own_bundles: Path, log: Path) -> None:
    make_live(own_bundles, bundle_of(own_bundles, "general"), bundle_of(own_bundles, "it"))
    live = LiveIndex.of(own_bundles).domains
    write_costs(own_bundles, costs_record(bundles=live, threshold=0.5))
    found = replayed(log, "--bundles", own_bundles)
    assert (found["threshold"], found["threshold_origin"], found["stale"]) == (0.5, "by routing.json", None)
    assert found["changed"] == [{"from": "general", "to": "it", "decisions": 1}]
    # Posteriors 0.05, 0.3 and 0.45 of general, which loses 25 points with it's model; 0.55 of it, which loses 30.
    assert found["expected_loss"] == {
        "metric": "chrf",
        "decisions": 3,
        "logged": pytest.approx((0.05 * 25 + 0.3 * 25 + 0.55 * 30) / 3),
        "replayed": pytest.approx((0.05 + 0.3 + 0.45) * 25 / 3),
    }
    write_costs(own_bundles, costs_record(threshold=0.5))
    assert "other bundles of general, it" in replayed(log, "--bundles", own_bundles)["stale"]
    assert replayed(log, "--bundles", own_bundles, "--threshold", 0.6)["changed"] == []


def test_losses_are_of_the_domains_that_were_measured(bundles: Path, log: Path, own_bundles: Path) -> None:
    write_costs(own_bundles, costs_record())
    path = log.with_name("kitchen.jsonl")
    DecisionLog(path).record(AUTO, ["a"], ROUTER.route(SENTENCES["kitchen"]))
    found = replayed(path, "--bundles", own_bundles)
    assert found["expected_loss"] is None and "kitchen" in found["stale"]


def test_the_table(log: Path) -> None:
    result = run(log, "--threshold", 0.8)
    assert result.exit_code == 0, result.output
    for expected in (
        "4 decisions, 1 of them asked for, 0 routed again from text; threshold 0.80 by --threshold",
        "general, if no domain was asked for: 33.3%, now 66.7%",
        "1 decisions change",
        "1 from it to general",
    ):
        assert expected in result.output


def test_bad_lines_are_named_by_number(log: Path) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0], b"{}\n", *lines[1:], b"\xff\n", lines[0][:40]]))
    result = run(log)
    assert result.exit_code == 2
    assert f"{log}:2: time: Field required" in result.output
    assert f"{log}:6: " in result.output and f"{log}:7: " in result.output
    assert f"{log}:1:" not in result.output
    log.write_bytes(b"no\n" * 9)
    assert "and 4 more lines" in run(log).output


def test_unusable_input_is_refused(log: Path, tmp_path: Path, own_bundles: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    (own_bundles / "live.json").write_text("{")
    for arguments, message in (
        ((tmp_path / "absent",), "absent: cannot be read: No such file"),
        ((empty,), "empty.jsonl: expected at least one decision"),
        ((log, "--threshold", 1.5), "--threshold"),
        ((log, "--bundles", own_bundles), "live.json"),
        ((log, "--bundles", tmp_path / "absent"), "live.json: cannot be read"),
    ):
        result = run(*arguments)
        assert (result.exit_code, message in result.output) == (2, True), result.output


def test_a_log_is_a_plain_file(tmp_path: Path) -> None:
    """A device never ends."""
    log = tmp_path / "decisions.jsonl"
    log.symlink_to("/dev/zero")
    with pytest.raises(FmallocError, match=r"decisions.jsonl: is a device, expected a plain file"):
        list(read_decisions(log))


def test_a_line_without_an_end_is_not_read(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    with log.open("wb") as file:
        file.truncate(96 * 2**20)
    with pytest.raises(FmallocError, match=r"decisions\.jsonl:1: a line of 16777216 bytes or more is no decision"):
        list(read_decisions(log))
