"""Requests from text to answer: routed, batched with others, on one snapshot from beginning to end."""

import asyncio
import json
import random
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fmalloc_runtime import machine
from fmalloc_runtime.batching.admission import MINIMUM_CHARACTERS, Admission
from fmalloc_runtime.batching.batcher import Batcher
from fmalloc_runtime.batching.service import Answer, Service, TranslationRequest, workers_of
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.errors import NotReadyError, OverloadedError, UnknownDomainError
from fmalloc_runtime.live.loading import model_bytes
from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.routing.decisions import DecisionLog
from fmalloc_runtime.routing.replay import read_decisions
from fmalloc_runtime.settings import Settings
from fmalloc_runtime.text.translation import TextOptions
from tests.support.batching import WAIT, WatchedEngine, watched
from tests.support.bundles import CPU, SENTENCES, bundle_of, write_bundle

PLAIN = TextOptions(protect=False, search=TranslationOptions(beam_size=1))
LINE = SENTENCES["it"][0]


class Served:
    """A service over a bundles directory, and what it is made of."""

    def __init__(self, bundles: Path, memory: int | None = None, preload: list[str] | None = None) -> None:
        self.metrics = Metrics()
        self.registry = Registry(bundles, CPU, memory, preload, self.metrics)
        self.registry.load()
        self.batcher = Batcher(2, 256, 0.001, self.metrics)
        self.service = Service(
            self.registry, self.batcher, Admission(1_000_000, self.metrics), self.metrics, DecisionLog(None)
        )

    def engine(self, domain: str) -> WatchedEngine:
        return watched(self.registry.snapshot().load(domain))

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def served(own_bundles: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """All domains loaded, with engines to be watched."""
    load = Translator.load

    def watching(bundle: Bundle, *arguments: object) -> Translator:
        translator = load(bundle, *arguments)  # type: ignore[arg-type]
        return Translator(bundle, translator.tokenizer, WatchedEngine(translator.engine))

    monkeypatch.setattr(Translator, "load", watching)
    found = Served(own_bundles)
    yield found
    found.batcher.close(WAIT)


def texts(answer: Answer) -> list[str]:
    return [translation.text for translation in answer.translations]


def request(*lines: str, domain: str = "it") -> TranslationRequest:
    return TranslationRequest(lines, domain, options=PLAIN)


async def at(engine: WatchedEngine) -> None:
    """Until a call stands before the engine's shut gate."""
    await asyncio.to_thread(engine.wait_for_call)


def swap(bundles: Path, name: str) -> None:
    partial = bundles / "live.partial"
    partial.write_bytes(LiveIndex.of(bundles).with_bundle(name).to_bytes())
    partial.replace(bundles / "live.json")


def test_an_answer_is_what_a_quiet_snapshot_gives(served: Served) -> None:
    whole = "\n".join(SENTENCES["it"])
    expected, route = served.registry.snapshot().translate([whole, LINE], options=PLAIN)
    answer = asyncio.run(served.service.translate(TranslationRequest((whole, LINE), options=PLAIN)))
    assert texts(answer) == [translation.text for translation in expected]
    assert answer.route == route == served.service.route(TranslationRequest((whole, LINE)))
    assert answer.languages == served.registry.snapshot().languages
    assert set(answer.seconds) == {"route", "load", "tokenise", "queue", "inference"}
    assert all(seconds >= 0 for seconds in answer.seconds.values())
    assert served.value("fmalloc_routes_total", domain="it", asked="no") == 1
    assert served.value("fmalloc_characters_total", domain="it") == len(whole) + len(LINE)
    assert served.value("fmalloc_stage_seconds_count", stage="tokenise") == 1
    assert served.value("fmalloc_in_flight_characters") == 0


def test_a_long_text_is_the_same_off_the_event_loop(served: Served) -> None:
    lines = SENTENCES["it"] * 12
    long = "\n".join(lines)
    assert len(long) > 4_000
    (whole,) = texts(asyncio.run(served.service.translate(request(long))))
    assert whole.split("\n") == texts(asyncio.run(served.service.translate(request(*lines))))


def test_the_context_routes_and_is_not_translated(served: Served) -> None:
    plain = TranslationRequest(("OK",), options=PLAIN)
    helped = TranslationRequest(("OK",), context=" ".join(SENTENCES["kitchen"]), options=PLAIN)
    assert served.service.route(plain).domain != "kitchen"
    answer = asyncio.run(served.service.translate(helped))
    assert answer.route.domain == "kitchen"
    assert len(answer.translations) == 1
    assert helped.weight > plain.weight


def test_what_is_logged_is_what_the_router_read(served: Served, tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    served.service.decisions = DecisionLog(log, keep_text=True)
    marked = TranslationRequest((f"<p>{LINE}</p>",), context="Im Menü.", options=replace(PLAIN, format="html"))
    asyncio.run(served.service.translate(marked))
    served.service.decisions.close()
    (decision,) = read_decisions(log)
    assert decision.text is not None
    assert [text.strip() for text in decision.text] == [LINE, "Im Menü."]
    assert served.service.route(marked).scores == served.registry.snapshot().router.route(decision.text).scores


def test_nothing_to_translate_asks_no_engine(served: Served) -> None:
    answer = asyncio.run(served.service.translate(request("", " \n\t", domain="auto")))
    assert texts(answer) == ["", " \n\t"]
    assert answer.route.reason == "no text"
    assert not served.value("fmalloc_batch_sentences_count", domain="general")


def test_requests_at_once_share_batches_and_get_their_own_answers(served: Served) -> None:
    drawn = random.Random(2)
    requests = [
        request(*drawn.sample(SENTENCES[domain], drawn.randint(1, 4)), domain=domain) for domain in [*SENTENCES] * 20
    ]

    async def ask() -> list[Answer]:
        engines = [served.engine(domain) for domain in SENTENCES]
        for engine in engines:
            engine.shut()
        tasks = [asyncio.create_task(served.service.translate(each)) for each in requests]
        while served.value("fmalloc_queued_sentences") < 50:
            await asyncio.sleep(0.01)
        for engine in engines:  # by now the other requests wait
            engine.gate.set()
        return await asyncio.gather(*tasks)

    snapshot = served.registry.snapshot()
    for each, answer in zip(requests, asyncio.run(ask()), strict=True):
        assert texts(answer) == [item.text for item in snapshot.translate(each.texts, each.domain, PLAIN)[0]]
    calls = [len(sources) for domain in SENTENCES for sources, _ in served.engine(domain).calls]
    assert max(calls) > 4


def test_an_unknown_domain_is_refused_before_anything(served: Served) -> None:
    with pytest.raises(UnknownDomainError, match="domain 'garden' is not served: use auto or one of general"):
        asyncio.run(served.service.translate(request(LINE, domain="garden")))
    assert served.service.admission.in_flight == 0


def test_more_than_fits_is_refused_and_what_is_answered_makes_room(own_bundles: Path, served: Served) -> None:
    service = Service(
        served.registry, served.batcher, Admission(2 * MINIMUM_CHARACTERS), served.metrics, DecisionLog(None)
    )
    engine = served.engine("it")

    async def ask() -> None:
        engine.shut()
        first = [asyncio.create_task(service.translate(request(LINE))) for _ in range(2)]
        await at(engine)
        with pytest.raises(OverloadedError) as refused:
            await service.translate(request(LINE))
        assert refused.value.retry_after >= 1
        engine.gate.set()
        await asyncio.gather(*first)
        await service.translate(request(LINE))

    asyncio.run(ask())


def test_long_texts_are_read_one_at_a_time_and_a_cancelled_one_to_the_end(served: Served) -> None:
    """A thread cannot be stopped: until it ends, its text counts in admission control."""
    service, long = served.service, request("x" * 20_000)
    reading: list[str] = []
    gate = threading.Event()

    def read(name: str) -> None:
        reading.append(name)
        gate.wait(WAIT)
        reading.remove(name)

    async def ask(name: str) -> None:
        await service.apart(long, partial(read, name))

    async def main() -> None:
        tasks = [asyncio.create_task(ask(name)) for name in "abc"]
        while not reading:
            await asyncio.sleep(0.01)
        tasks[0].cancel()
        tasks[1].cancel()
        await asyncio.sleep(0.1)
        assert reading == ["a"] and not tasks[0].done() and tasks[1].cancelled()
        gate.set()
        await asyncio.wait(tasks)
        assert tasks[0].cancelled() and not tasks[2].cancelled() and not reading

    asyncio.run(main())


def test_a_cancelled_request_leaves_the_queue(served: Served) -> None:
    engine = served.engine("it")
    engine.calls.clear()

    async def ask() -> None:
        engine.shut()
        both = (PLAIN, replace(PLAIN, search=TranslationOptions(beam_size=2)))
        running = [
            asyncio.create_task(served.service.translate(TranslationRequest((LINE,), "it", options=each)))
            for each in both
        ]
        await at(engine)
        await at(engine)
        gone = asyncio.create_task(served.service.translate(request(*SENTENCES["it"][2:6])))
        while served.value("fmalloc_queued_sentences") < 4:
            await asyncio.sleep(0.001)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert served.value("fmalloc_queued_sentences") == 0
        engine.gate.set()
        await asyncio.gather(*running)

    asyncio.run(ask())
    assert len({source for sources, _ in engine.calls for source in sources}) == 1
    assert served.service.admission.in_flight == 0


def test_a_request_finishes_on_the_model_that_it_began_with(served: Served, own_bundles: Path) -> None:
    (expected,), before = served.registry.snapshot().translate([LINE], "it", PLAIN)
    engine = served.engine("it")

    async def ask() -> tuple[Answer, Answer]:
        engine.shut()
        old = asyncio.create_task(served.service.translate(request(LINE)))
        await at(engine)
        swap(own_bundles, write_bundle(own_bundles, "it", seed=9).name)
        served.registry.refresh()
        shutil.rmtree(own_bundles / before.bundle)
        new = await served.service.translate(request(LINE))
        engine.gate.set()
        return await old, new

    old, new = asyncio.run(ask())
    assert (texts(old), old.route.bundle) == ([expected.text], before.bundle)
    assert texts(new) != texts(old)
    assert new.route.bundle == served.registry.snapshot().bundles["it"].name


def test_a_bundle_that_was_replaced_before_it_was_leased(
    served: Served, own_bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = served.registry.snapshot()
    swap(own_bundles, write_bundle(own_bundles, "it", seed=9).name)
    served.registry.refresh()
    shutil.rmtree(old.bundles["it"].path)
    new = served.registry.snapshot()
    seen = iter([old])
    monkeypatch.setattr(served.registry, "snapshot", lambda: next(seen, new))
    answer = asyncio.run(served.service.translate(request(LINE)))
    assert answer.route.bundle == new.bundles["it"].name


def test_a_domain_is_loaded_when_it_is_asked_for(own_bundles: Path) -> None:
    memory = model_bytes(Bundle.read(bundle_of(own_bundles, "it"))) * 11 // 10
    served = Served(own_bundles, memory, [])
    fresh = Served(own_bundles)

    async def ask() -> list[Answer]:
        requests = [request(LINE, domain=domain) for domain in [*SENTENCES] * 5]
        return await asyncio.gather(*(served.service.translate(each) for each in requests))

    for answer in asyncio.run(ask()):
        (expected,), _ = fresh.registry.snapshot().translate([LINE], answer.route.domain, PLAIN)
        assert texts(answer) == [expected.text]
        assert answer.seconds["load"] > 0
    assert served.registry.snapshot().models.used <= memory
    shutil.rmtree(bundle_of(own_bundles, "general"))
    asyncio.run(served.service.translate(request(LINE)))
    with pytest.raises(NotReadyError, match="general@.* cannot be loaded"):
        asyncio.run(served.service.translate(request(LINE, domain="general")))
    asyncio.run(served.service.translate(request(LINE, domain="kitchen")))
    assert served.service.admission.in_flight == 0
    for each in (served, fresh):
        each.batcher.close(WAIT)


def test_no_wrong_answer_while_bundles_are_swapped(served: Served, own_bundles: Path) -> None:
    names = [bundle_of(own_bundles, "it").name, write_bundle(own_bundles, "it", seed=9).name]
    expected = {}
    for name in reversed(names):
        swap(own_bundles, name)
        expected[name] = [item.text for item in served.registry.load().translate(SENTENCES["it"], "it", PLAIN)[0]]
    assert expected[names[0]] != expected[names[1]]

    async def ask(stop: asyncio.Event) -> set[str]:
        seen = set()
        while not stop.is_set():
            answer = await served.service.translate(request(*SENTENCES["it"]))
            assert texts(answer) == expected[answer.route.bundle]
            seen.add(answer.route.bundle)
        return seen

    async def main() -> None:
        stop = asyncio.Event()
        askers = [asyncio.create_task(ask(stop)) for _ in range(4)]
        for turn in range(1, 13):
            swap(own_bundles, names[turn % 2])
            await asyncio.to_thread(served.registry.refresh)
        stop.set()
        assert set().union(*await asyncio.gather(*askers)) == set(names)

    asyncio.run(main())


def test_closing_fails_what_is_not_translated_in_time(served: Served) -> None:
    engine = served.engine("it")

    async def ask() -> None:
        engine.shut()
        waiting = asyncio.create_task(served.service.translate(request(LINE)))
        await at(engine)
        await asyncio.to_thread(served.batcher.close, 0.01)
        with pytest.raises(NotReadyError, match="shut down"):
            await waiting
        engine.gate.set()

    asyncio.run(ask())
    with pytest.raises(NotReadyError, match="shutting down"):
        asyncio.run(served.service.translate(request(LINE)))


def test_workers_share_the_cpus() -> None:
    assert workers_of(Settings(workers=3)) == 3
    assert workers_of(Settings(device="cuda")) == 1
    assert workers_of(Settings(device="cpu")) == max(1, int(machine.cpus()))
    assert workers_of(Settings(device="cpu", threads=10_000)) == 1


def test_what_is_built_follows_the_settings(bundles: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    settings = Settings(bundles=bundles, device="cpu", workers=1, preload=("it",), decisions=log)
    with Service.open(settings) as service:
        snapshot = service.registry.snapshot()
        assert [domain for domain in snapshot.bundles if snapshot.loaded(domain)] == ["it"]
        service.decisions.record("auto", [LINE], snapshot.router.route([LINE]))
        assert "fmalloc-watcher" in {thread.name for thread in threading.enumerate()}
    assert "fmalloc-watcher" not in {thread.name for thread in threading.enumerate()}
    assert json.loads(log.read_text())["domain"] == "it"
    with pytest.raises(NotReadyError, match="shutting down"):
        asyncio.run(service.translate(TranslationRequest((LINE,), "it")))
