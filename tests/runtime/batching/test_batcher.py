"""Sentences of many requests in common batches: the same translations, and nobody suffers for another."""

import random
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from fmalloc_runtime.batching.batcher import Batcher
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.errors import EngineError, NotReadyError
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.text.translation import SourceBatch
from tests.support.batching import GREEDY, LINES, WAIT, alone, batch_of, watched


@pytest.fixture
def batcher() -> Batcher:
    return Batcher(workers=1, wait_seconds=0.0)


def test_each_gets_what_the_engine_gives_for_it_alone(it: Translator, general: Translator) -> None:
    drawn = random.Random(5)
    batcher = Batcher(workers=3, batch_tokens=200, wait_seconds=0.001)
    options = [GREEDY, TranslationOptions(beam_size=2), TranslationOptions(beam_size=2, hypotheses=2)]
    submitted = []
    for _ in range(60):
        translator = drawn.choice((it, general))
        texts = [" ".join(drawn.choices(LINES[0].split(), k=drawn.randint(1, 8))) for _ in range(drawn.randint(1, 5))]
        submitted.append((translator, batch_of(translator, *texts, options=drawn.choice(options))))
    with ThreadPoolExecutor(8) as clients:
        futures = list(clients.map(lambda each: batcher.submit(*each), submitted))
    for (translator, batch), future in zip(submitted, futures, strict=True):
        found = future.result(WAIT)
        expected = alone(translator, batch)
        assert [[each.tokens for each in one] for one in found] == [[each.tokens for each in one] for one in expected]
    batcher.close(WAIT)
    assert any(len(sources) > 5 for sources, _ in watched(it).calls)


def test_exact_batches_give_the_same_to_the_last_bit(integers: Translator) -> None:
    drawn = random.Random(6)
    words = " ".join(LINES).split()
    batches = [
        batch_of(integers, " ".join(drawn.choices(words, k=drawn.randint(1, 5))), options=TranslationOptions(4))
        for _ in range(150)
    ]
    changed = {}
    for exact in (True, False):
        batcher = Batcher(workers=1, wait_seconds=0.01, exact=exact)
        futures = [batcher.submit(integers, batch) for batch in batches]
        found = [future.result(WAIT) for future in futures]
        batcher.close(WAIT)
        changed[exact] = sum(one != alone(integers, batch) for one, batch in zip(found, batches, strict=True))
    assert changed[True] == 0
    assert changed[False] > 0
    assert max(len(sources) for sources, _ in watched(integers).calls[: len(batches)]) > 2


def test_nothing_to_translate(it: Translator, batcher: Batcher) -> None:
    assert batcher.submit(it, SourceBatch((), GREEDY)).result(0) == []
    batcher.close(WAIT)
    assert not watched(it).calls


def test_waiting_sentences_share_the_next_batch(it: Translator, batcher: Batcher) -> None:
    engine = watched(it)
    engine.shut()
    first = batcher.submit(it, batch_of(it, LINES[0]))
    engine.wait_for_call()
    others = [batcher.submit(it, batch_of(it, LINES[1])) for _ in range(3)]
    engine.gate.set()
    for future in (first, *others):
        future.result(WAIT)
    assert [len(sources) for sources, _ in engine.calls] == [1, 3]
    batcher.close(WAIT)


def test_a_cancelled_job_leaves_the_queue_and_is_never_run(it: Translator, batcher: Batcher) -> None:
    engine = watched(it)
    engine.shut()
    running = batcher.submit(it, batch_of(it, LINES[0]))
    engine.wait_for_call()
    gone, kept = batcher.submit(it, batch_of(it, LINES[1], LINES[2])), batcher.submit(it, batch_of(it, LINES[3]))
    assert gone.cancel()
    assert running.cancel()  # its translation is thrown away
    engine.gate.set()
    kept.result(WAIT)
    batcher.close(WAIT)
    ran = {source for sources, _ in engine.calls for source in sources}
    assert ran == {*batch_of(it, LINES[0], LINES[3]).sources}
    with pytest.raises(CancelledError):
        gone.result(0)


def test_one_bad_sentence_fails_its_own_job_only(it: Translator, batcher: Batcher) -> None:
    engine = watched(it)
    engine.shut()
    batcher.submit(it, batch_of(it, LINES[0]))
    engine.wait_for_call()
    good = [batch_of(it, line) for line in LINES[1:3]]
    futures = [batcher.submit(it, batch) for batch in good]
    engine.poison = "poison"
    bad = batcher.submit(it, SourceBatch((("poison", "</s>"), *good[0].sources), GREEDY))
    engine.gate.set()
    with pytest.raises(EngineError, match="poison cannot be translated"):
        bad.result(WAIT)
    for batch, future in zip(good, futures, strict=True):
        assert [one[0].tokens for one in future.result(WAIT)] == [one[0].tokens for one in alone(it, batch)]
    again = batcher.submit(it, good[0])
    assert again.result(WAIT)
    batcher.close(WAIT)


def test_a_job_that_failed_in_one_batch_is_not_run_on(it: Translator) -> None:
    engine = watched(it)
    engine.poison = "poison"
    batcher = Batcher(workers=1, batch_tokens=30, wait_seconds=0.0)
    long = SourceBatch((("poison", "</s>"), *batch_of(it, *LINES).sources * 3), GREEDY)
    with pytest.raises(EngineError):
        batcher.submit(it, long).result(WAIT)
    batcher.close(WAIT)
    assert len(engine.calls) < 5


def test_a_broken_engine_does_not_stop_the_workers(it: Translator, batcher: Batcher) -> None:
    """More sources than hypotheses is a mistake of an engine, not of the request."""
    engine = watched(it)
    whole, engine.translate = engine.translate, lambda *_: []  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="shorter"):
        batcher.submit(it, batch_of(it, LINES[0])).result(WAIT)
    engine.translate = whole  # type: ignore[method-assign]
    assert batcher.submit(it, batch_of(it, LINES[0])).result(WAIT)
    batcher.close(WAIT)


def test_no_more_batches_at_once_than_workers(it: Translator, general: Translator) -> None:
    batcher = Batcher(workers=2, wait_seconds=0.0)
    for translator in (it, general):
        watched(translator).shut()
    futures = [
        batcher.submit(translator, batch_of(translator, line, options=TranslationOptions(beam)))
        for translator in (it, general)
        for beam, line in enumerate(LINES[:3], start=1)
    ]
    engines = watched(it), watched(general)
    engines[0].wait_for_call()  # the oldest and the lowest tag are of the same model
    engines[0].wait_for_call()
    assert not any(engine.arrived.acquire(timeout=0.05) for engine in engines)
    for engine in engines:
        engine.gate.set()
    for future in futures:
        future.result(WAIT)
    batcher.close(WAIT)


def test_only_beside_others_at_work_a_sentence_waits_for_company(it: Translator) -> None:
    batcher = Batcher(workers=2, wait_seconds=WAIT)
    engine = watched(it)
    engine.shut()
    first = batcher.submit(it, batch_of(it, LINES[0]))
    engine.wait_for_call()  # long before its delay is over
    second = batcher.submit(it, batch_of(it, LINES[1]))
    assert not engine.arrived.acquire(timeout=0.05)
    engine.gate.set()
    assert first.result(WAIT / 2) and second.result(WAIT / 2)
    batcher.close(WAIT)


def test_closing_drains_what_is_queued_and_takes_nothing_new(it: Translator) -> None:
    batcher = Batcher(workers=2, wait_seconds=WAIT)
    engine = watched(it)
    engine.shut()
    futures = [batcher.submit(it, batch_of(it, LINES[0]))]
    engine.wait_for_call()
    futures += [batcher.submit(it, batch_of(it, line)) for line in LINES[1:]]
    assert not engine.arrived.acquire(timeout=0.05)
    closing = threading.Thread(target=batcher.close, args=(WAIT,))
    closing.start()
    engine.wait_for_call()  # what waits for company is not waited for
    engine.gate.set()
    closing.join(WAIT)
    assert all(future.done() and future.result() for future in futures)
    with pytest.raises(NotReadyError, match="shutting down"):
        batcher.submit(it, batch_of(it, LINES[0]))


def test_closing_is_bounded(it: Translator, batcher: Batcher) -> None:
    engine = watched(it)
    engine.shut()
    running = batcher.submit(it, batch_of(it, LINES[0]))
    engine.wait_for_call()
    waiting = batcher.submit(it, batch_of(it, LINES[1]))
    batcher.close(0.05)
    with pytest.raises(NotReadyError, match="shut down"):
        waiting.result(0)
    with pytest.raises(NotReadyError, match="shut down"):
        running.result(0)
    engine.gate.set()
    for thread in batcher._threads:
        thread.join(WAIT)
    assert [len(sources) for sources, _ in engine.calls] == [1]


def test_what_is_measured(it: Translator) -> None:
    metrics = Metrics()
    batcher = Batcher(workers=1, wait_seconds=0.0, metrics=metrics)
    batch = batch_of(it, *LINES[:2])
    future = batcher.submit(it, batch)
    future.result(WAIT)
    assert future.queued is not None
    assert future.queued >= 0
    batcher.close(WAIT)
    read = metrics.registry.get_sample_value
    padded = 2 * max(map(len, batch.sources))
    assert read("fmalloc_batch_sentences_sum", {"domain": "it"}) == 2
    assert read("fmalloc_batch_tokens_sum", {"domain": "it", "engine": "ctranslate2"}) == padded
    assert read("fmalloc_stage_seconds_count", {"stage": "queue"}) == 1
    assert read("fmalloc_stage_seconds_count", {"stage": "inference"}) == 1
    assert read("fmalloc_queued_sentences") == 0


def test_a_waiting_worker_wakes_for_what_comes(it: Translator, batcher: Batcher) -> None:
    done = threading.Event()
    batcher.submit(it, batch_of(it, LINES[0])).add_done_callback(lambda _: done.set())
    assert done.wait(WAIT)
    batcher.close(WAIT)
