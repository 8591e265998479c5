"""Who may come in: keys, rates, quotas, and what is counted."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fmalloc_runtime.access import usage as usage_module
from fmalloc_runtime.access.gatekeeper import Gatekeeper, Usage
from fmalloc_runtime.access.keys import add_key
from fmalloc_runtime.errors import BodyTooLargeError, QuotaExceededError, RateLimitedError, UnauthorizedError, status_of
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.settings import Settings
from fmalloc_shared.errors import FmallocError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_without_keys_everybody_comes_in() -> None:
    gate = Gatekeeper(Settings(), Metrics())
    assert gate.enter(None, 10) == gate.enter("whatever", 5) == "anonymous"
    assert gate.usage(None) == Usage(15, None)


def test_with_keys_only_those_who_have_one(path: Path) -> None:
    key = add_key(path, "site", {})
    metrics = Metrics()
    gate = Gatekeeper(Settings(keys=path), metrics)
    assert gate.enter(key, 10) == "site"
    for credential in (None, "", "fm-wrong", key[:-1]):
        with pytest.raises(UnauthorizedError):
            gate.enter(credential, 1)
        with pytest.raises(UnauthorizedError):
            gate.usage(credential)
    assert gate.usage(key) == Usage(10, None)
    assert metrics.registry.get_sample_value("fmalloc_refused_total", {"reason": "key"}) == 4


def test_requests_a_minute_with_when_to_come_again() -> None:
    gate = Gatekeeper(Settings(requests_per_minute=3), Metrics())
    for _ in range(3):
        gate.enter(None, 1)
    with pytest.raises(RateLimitedError, match="more than 3 requests per minute") as caught:
        gate.enter(None, 1)
    assert 50 <= caught.value.retry_after <= 60 and status_of(caught.value) == 429
    assert gate.usage(None).characters == 3


def test_characters_a_minute() -> None:
    gate = Gatekeeper(Settings(characters_per_minute=100), Metrics())
    gate.enter(None, 60)
    with pytest.raises(RateLimitedError, match="more than 100 characters per minute") as caught:
        gate.enter(None, 60)
    assert 1 <= caught.value.retry_after <= 60
    gate.enter(None, 40)
    gate.enter(None, 0)
    with pytest.raises(BodyTooLargeError, match="101 characters in one request, at most 100 per minute"):
        gate.enter(None, 101)


def test_characters_that_are_known_later_are_no_further_request(path: Path) -> None:
    key = add_key(path, "site", {"characters": 20, "requests_per_minute": 1, "characters_per_minute": 12})
    gate = Gatekeeper(Settings(keys=path), Metrics())
    gate.enter(key, 0)
    gate.count(key, 10)
    with pytest.raises(RateLimitedError, match="12 characters per minute"):
        gate.count(key, 10)
    with pytest.raises(UnauthorizedError):
        gate.count(None, 1)
    assert gate.usage(key) == Usage(10, 20)


def test_a_minute_later_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gatekeeper(Settings(requests_per_minute=1, characters_per_minute=10), Metrics())
    gate.enter(None, 10)
    with pytest.raises(RateLimitedError) as caught:
        gate.enter(None, 10)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + caught.value.retry_after + 1)
    gate.enter(None, 0)
    monkeypatch.setattr(time, "time", lambda: now() + 3 * 60)
    gate.enter(None, 10)


def test_a_refused_request_counts_for_nothing() -> None:
    gate = Gatekeeper(Settings(requests_per_minute=2, characters_per_minute=100), Metrics())
    gate.enter(None, 90)
    for _ in range(5):
        with pytest.raises(RateLimitedError, match="characters"):
            gate.enter(None, 20)
    gate.enter(None, 10)
    assert gate.usage(None).characters == 100


def test_a_key_has_limits_of_its_own_and_a_count_of_its_own(path: Path) -> None:
    small, large = add_key(path, "small", {"requests_per_minute": 1}), add_key(path, "large", {})
    gate = Gatekeeper(Settings(keys=path, requests_per_minute=3), Metrics())
    gate.enter(small, 1)
    with pytest.raises(RateLimitedError):
        gate.enter(small, 1)
    for _ in range(3):
        gate.enter(large, 1)
    with pytest.raises(RateLimitedError):
        gate.enter(large, 1)


def test_a_quota_of_the_month(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = add_key(path, "site", {"characters": 100})
    gate = Gatekeeper(Settings(keys=path), Metrics())
    gate.enter(key, 80)
    with pytest.raises(QuotaExceededError, match="80 of 100 characters are used this month: 30 more exceed") as caught:
        gate.enter(key, 30)
    assert status_of(caught.value) == 456
    gate.enter(key, 20)
    assert gate.usage(key) == Usage(100, 100)
    monkeypatch.setattr(usage_module, "_month", lambda: "2999-01")
    gate.enter(key, 30)
    assert gate.usage(key) == Usage(30, 100)


def test_what_was_not_translated_is_given_back(path: Path) -> None:
    key = add_key(path, "site", {"characters": 100})
    gate = Gatekeeper(Settings(keys=path), Metrics())
    gate.give_back(gate.enter(key, 80), 80)
    assert gate.usage(key) == Usage(0, 100)
    gate.enter(key, 100)


def test_usage_is_kept_across_restarts(path: Path, tmp_path: Path) -> None:
    key, settings = add_key(path, "site", {"characters": 100}), Settings(keys=path, usage=tmp_path / "usage.json")
    first = Gatekeeper(settings, Metrics())
    first.enter(key, 70)
    first.close()
    kept = json.loads((tmp_path / "usage.json").read_text())
    assert kept == {"version": 1, "month": datetime.now(UTC).strftime("%Y-%m"), "characters": {"site": 70}}
    assert Gatekeeper(settings, Metrics()).usage(key) == Usage(70, 100)
    (tmp_path / "usage.json").write_text(json.dumps(kept | {"month": "2001-01"}))
    assert Gatekeeper(settings, Metrics()).usage(key) == Usage(0, 100)
    (tmp_path / "usage.json").write_text("{")
    with pytest.raises(FmallocError, match="usage.json"):
        Gatekeeper(settings, Metrics())


def test_usage_that_cannot_be_kept_does_not_stop_the_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gatekeeper(Settings(usage=tmp_path / "nowhere" / "usage.json"), Metrics())
    gate.enter(None, 7)
    gate.close()
    assert gate.usage(None).characters == 7 and "usage was not written" in caplog.text
