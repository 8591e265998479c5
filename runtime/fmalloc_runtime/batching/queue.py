"""The queue of waiting sentences: which of them form the next batch."""

import math
from collections.abc import Iterable
from concurrent.futures import Future
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from fmalloc_runtime.engines.base import Hypothesis, TranslationOptions
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.translation import SourceBatch


class Task(Future[list[tuple[Hypothesis, ...]]]):
    """A submitted batch: the future of the hypotheses of all its sources.

    `arrival`: seconds of time.perf_counter. `queued`: seconds until its first sentence was started, None before.
    """

    def __init__(self, translator: Translator, batch: SourceBatch, arrival: float) -> None:
        super().__init__()
        self.translator = translator
        self.batch = batch
        self.arrival = arrival
        self.queued: float | None = None
        self.found: list[tuple[Hypothesis, ...]] = [()] * len(batch.sources)
        self.left = len(batch.sources)  # not yet translated
        self.waiting: dict[int, QueuedSentence] = {}  # sentences in the queue, by position
        self.tokens = 0  # of waiting sentences


class QueuedSentence(NamedTuple):
    """One source of a task. Sentences are ordered by `tag`, then by age."""

    tag: float
    serial: int
    length: int
    position: int
    task: Task

    @property
    def waits(self) -> bool:
        """Whether it is still in the queue: neither started nor removed with its task."""
        return self.position in self.task.waiting


# Also whether targets are scored.
_Key = tuple[Translator, TranslationOptions, bool]


class Queue:
    """Waiting sentences and their order; not safe to use from several threads at once.

    A sentence's tag is the virtual time at which it would start if all tasks had equal shares of the workers (fair
    queueing; Demers, Keshav and Shenker 1989). Batches start alternately with the lowest tag and with the oldest task:
    a line does not wait for a book, nor a book for all the lines after it. They are filled with sentences of similar
    length, whatever their tags; with `exact`, of equal length if padding would change a translation.
    """

    def __init__(self, batch_tokens: int, wait_seconds: float, *, exact: bool = False) -> None:
        self._batch_tokens = batch_tokens
        self._exact = exact
        self._wait = wait_seconds
        self._groups: dict[_Key, _Group] = {}
        self._time = 0.0  # virtual, in tokens of one task
        self._serial = 0
        self._oldest_next = False

    def __len__(self) -> int:
        """Sentences waiting."""
        return sum(group.waiting for group in self._groups.values())

    def put(self, task: Task) -> None:
        """Add all sentences of a task."""
        key = task.translator, task.batch.options, bool(task.batch.targets)
        group = self._groups.get(key)
        if group is None:
            mixing = task.translator.engine.mixing
            padding = mixing == "any" or (mixing == "equal" and not self._exact)
            group = self._groups[key] = _Group(mixing=mixing != "none", padding=padding)
        sentences = []
        tag = self._time
        for position, source in enumerate(task.batch.sources):
            self._serial += 1
            sentences.append(QueuedSentence(tag, self._serial, len(source), position, task))
            tag += len(source)
        group.put(task, sentences)

    def remove(self, task: Task) -> None:
        """Drop the waiting sentences of a task, if there are any."""
        key = task.translator, task.batch.options, bool(task.batch.targets)
        group = self._groups.get(key)
        if group is not None and task in group.tasks:
            group.remove(task)
            self._tidy(key)

    def take(self, now: float, free: int, hurry: bool = False) -> list[QueuedSentence]:
        """The next batch, or nothing while it is better to wait for more sentences; `free`: idle workers.

        A batch is due if it is full, if a sentence has waited for the maximum delay, or with `hurry`. If all waiting
        tokens are fewer than the idle workers could take, they are divided among them.
        """
        ready = [key for key, group in self._groups.items() if hurry or self._ready(group, now)]
        if not ready:
            return []
        if self._oldest_next:
            key = min(ready, key=lambda key: self._groups[key].since)
            first = self._groups[key].oldest()
        else:
            key = min(ready, key=lambda key: self._groups[key].lowest())
            first = self._groups[key].lowest()
        self._oldest_next = not self._oldest_next
        waiting = sum(group.tokens for group in self._groups.values())
        tasks = sum(len(group.tasks) for group in self._groups.values())
        batch = self._groups[key].take(first, self._batch_tokens, math.ceil(waiting / free))
        self._time += sum(sentence.length for sentence in batch) / tasks
        self._tidy(key)
        return batch

    def delay(self, now: float) -> float | None:
        """Seconds until `take` has a batch, None if nothing waits."""
        return min((max(0.0, group.since + self._wait - now) for group in self._groups.values()), default=None)

    def _ready(self, group: "_Group", now: float) -> bool:
        return not group.mixing or group.tokens >= self._batch_tokens or now >= group.since + self._wait

    def _tidy(self, key: _Key) -> None:
        if not self._groups[key].tasks:
            del self._groups[key]


class _Group:
    """Sentences of one translator and equal options, with a heap per length.

    They share batches if `mixing`, and with sentences of other lengths if `padding`.
    """

    def __init__(self, *, mixing: bool, padding: bool) -> None:
        self.mixing = mixing
        self._padding = padding
        self.tasks: dict[Task, None] = {}  # with waiting sentences, oldest first
        self.waiting = 0
        self.tokens = 0
        self._heaps: dict[int, list[QueuedSentence]] = {}
        self._stale = 0  # sentences in the heaps that no longer wait

    @property
    def since(self) -> float:
        """Arrival of the oldest task."""
        return next(iter(self.tasks)).arrival

    def oldest(self) -> QueuedSentence:
        """The first waiting sentence of the oldest task."""
        return next(iter(next(iter(self.tasks)).waiting.values()))

    def lowest(self) -> QueuedSentence:
        """The sentence with the lowest tag."""
        return min(self._heaps[length][0] for length in list(self._heaps) if self._any(length))

    def put(self, task: Task, sentences: Iterable[QueuedSentence]) -> None:
        self.tasks[task] = None
        for sentence in sentences:
            task.waiting[sentence.position] = sentence
            task.tokens += sentence.length
            heappush(self._heaps.setdefault(sentence.length, []), sentence)
        self.waiting += len(task.waiting)
        self.tokens += task.tokens

    def remove(self, task: Task) -> None:
        del self.tasks[task]
        self.waiting -= len(task.waiting)
        self.tokens -= task.tokens
        self._stale += len(task.waiting)
        task.waiting.clear()
        task.tokens = 0
        self._tidy()

    def take(self, first: QueuedSentence, padded: int, tokens: int) -> list[QueuedSentence]:
        """`first` and those closest to its length: at most `padded` tokens with padding, and `tokens` without."""
        self._start(first)
        self._stale += 1  # it may be anywhere in its heap
        batch, taken, longest = [first], first.length, first.length
        for length in self._lengths(first.length):
            while taken < tokens and (len(batch) + 1) * max(longest, length) <= padded and self._any(length):
                sentence = heappop(self._heaps[length])
                self._start(sentence)
                batch.append(sentence)
                taken, longest = taken + length, max(longest, length)
        self._tidy()
        return batch

    def _lengths(self, length: int) -> list[int]:
        """Lengths of sentences that may share a batch with one of this length, best first."""
        if not self.mixing:
            return []
        if not self._padding:
            return [length]
        return sorted(self._heaps, key=lambda other: (abs(other - length), -other))

    def _start(self, sentence: QueuedSentence) -> None:
        task = sentence.task
        del task.waiting[sentence.position]
        task.tokens -= sentence.length
        self.waiting -= 1
        self.tokens -= sentence.length
        if not task.waiting:
            del self.tasks[task]

    def _any(self, length: int) -> bool:
        """Whether a sentence of this length waits; if so, the first in its heap does."""
        heap = self._heaps[length]
        while heap and not heap[0].waits:
            heappop(heap)
            self._stale -= 1
        return bool(heap)

    def _tidy(self) -> None:
        """Rebuild the heaps once stale entries outnumber waiting ones."""
        if self._stale > self.waiting:
            living = {length: [each for each in heap if each.waits] for length, heap in self._heaps.items()}
            self._heaps = {length: heap for length, heap in living.items() if heap}
            for heap in self._heaps.values():
                heapify(heap)
            self._stale = 0
