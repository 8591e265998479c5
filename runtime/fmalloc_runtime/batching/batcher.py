"""Translates sentences of many requests together: a fixed number of workers takes batches from one queue."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError

from fmalloc_runtime.batching.queue import Queue, QueuedSentence, Task
from fmalloc_runtime.engines.base import BATCH_TOKENS, Hypothesis, score_exactly
from fmalloc_runtime.errors import NotReadyError
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.text.translation import SourceBatch


class Batcher:
    """Translates what is submitted, in batches of one translator and equal options.

    `workers`: batches at once, whatever the number of domains. `batch_tokens`: most padded source tokens per batch (a
    longer sentence goes alone). `wait_seconds`: maximum batching delay while a worker is free and another one works;
    if all are idle, nothing waits. `exact`: output is batch-invariant: if padding can change a translation
    (Engine.mixing), only sentences of equal length share a batch.
    """

    def __init__(
        self,
        workers: int = 1,
        batch_tokens: int = BATCH_TOKENS,
        wait_seconds: float = 0.003,
        metrics: Metrics | None = None,
        *,
        exact: bool = True,
    ) -> None:
        self._metrics = metrics or Metrics()
        self._queue = Queue(batch_tokens, wait_seconds, exact=exact)
        self._changed = threading.Condition(threading.RLock())
        self._open: set[Task] = set()  # neither finished nor dropped
        self._free = 0
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"fmalloc-worker-{index}", daemon=True) for index in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, translator: Translator, batch: SourceBatch) -> Task:
        """Queue the sources of `batch`. Cancelling the task takes sentences that have not started out of the queue.

        Raises NotReadyError when closing. The task fails with EngineError if the engine cannot translate a source.
        """
        task = Task(translator, batch, time.perf_counter())
        if not batch.sources:
            task.set_result([])
            return task
        with self._changed:
            if self._closing:
                raise NotReadyError("the server is shutting down: send this request to another one")
            self._open.add(task)
            self._queue.put(task)
            self._metrics.queued.set(len(self._queue))
            self._changed.notify()
        task.add_done_callback(self._drop_cancelled)
        return task

    def close(self, timeout: float = 30.0) -> None:
        """Take nothing new; translate what is queued for at most `timeout` seconds; fail the rest."""
        deadline = time.perf_counter() + timeout
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.perf_counter()))
        with self._changed:
            left = list(self._open)
            for task in left:
                self._drop(task)
            self._changed.notify_all()
        for task in left:
            _fail(task, NotReadyError("the server shut down before this was translated: send it again"))

    def _drop_cancelled(self, task: Future[list[tuple[Hypothesis, ...]]]) -> None:
        if task.cancelled() and isinstance(task, Task):
            self._drop(task)

    def _drop(self, task: Task) -> None:
        with self._changed:
            self._open.discard(task)
            self._queue.remove(task)
            self._metrics.queued.set(len(self._queue))

    def _work(self) -> None:
        while self._step():
            pass

    def _step(self) -> bool:
        # A separate function, so that a waiting worker does not keep its last batch and model in memory.
        batch = self._take()
        if batch:
            self._translate(batch)
        return bool(batch)

    def _take(self) -> list[QueuedSentence]:
        """Wait for the next batch; empty once there will be none."""
        with self._changed:
            self._free += 1
            try:
                while True:
                    now = time.perf_counter()
                    idle = self._free == len(self._threads)
                    if batch := self._queue.take(now, self._free, self._closing or idle):
                        self._metrics.queued.set(len(self._queue))
                        if self._queue:
                            self._changed.notify()
                        break
                    if self._closing:
                        return []
                    self._changed.wait(self._queue.delay(now))
            finally:
                self._free -= 1
        for task in {sentence.task: None for sentence in batch}:
            if task.queued is None:
                task.queued = now - task.arrival
                self._metrics.stage("queue", task.queued)
        return batch

    def _translate(self, batch: list[QueuedSentence]) -> None:
        try:
            translated = self._run(batch)
        except Exception as error:
            tasks = list({sentence.task: None for sentence in batch})
            if len(tasks) == 1:
                self._drop(tasks[0])
                _fail(tasks[0], error)
                return
            for task in tasks:  # retry individually to isolate the failing request
                if not task.cancelled():
                    self._translate([sentence for sentence in batch if sentence.task is task])
            return
        done = []
        with self._changed:
            for sentence, hypotheses in translated:
                task = sentence.task
                task.found[sentence.position] = hypotheses
                task.left -= 1
                if not task.left:
                    self._open.discard(task)
                    done.append(task)
        for task in done:
            _finish(task)

    def _run(self, batch: Sequence[QueuedSentence]) -> list[tuple[QueuedSentence, tuple[Hypothesis, ...]]]:
        task = batch[0].task
        translator, options = task.translator, task.batch.options
        began = time.perf_counter()
        sources = [sentence.task.batch.sources[sentence.position] for sentence in batch]
        prefix = translator.tokenizer.target_prefix
        if task.batch.targets:
            targets = [sentence.task.batch.targets[sentence.position] for sentence in batch]
            found = score_exactly(translator.engine, sources, targets, prefix)
        else:
            found = translator.engine.translate(sources, prefix, options)
        manifest = translator.bundle.manifest
        self._metrics.stage("inference", time.perf_counter() - began)
        self._metrics.batch_sentences.labels(manifest.domain).observe(len(batch))
        padded = len(batch) * max(sentence.length for sentence in batch)
        self._metrics.batch_tokens.labels(manifest.domain, manifest.engine.name).observe(padded)
        return list(zip(batch, found, strict=True))


def _finish(task: Task) -> None:
    try:
        task.set_result(task.found)
    except InvalidStateError:  # cancelled
        return


def _fail(task: Task, error: Exception) -> None:
    try:
        task.set_exception(error)
    except InvalidStateError:  # cancelled
        return
