"""The order in which waiting sentences are translated, and which of them together."""

import random
from collections.abc import Iterable

import pytest

from fmalloc_runtime.batching.queue import Queue, QueuedSentence, Task
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.translation import SourceBatch
from tests.support.batching import GREEDY, watched

TOKENS = 100


def task(translator: Translator, *lengths: int, arrival: float = 0.0, options: TranslationOptions = GREEDY) -> Task:
    return Task(translator, SourceBatch(tuple(("x",) * length for length in lengths), options), arrival)


def lengths(batch: Iterable[QueuedSentence]) -> list[int]:
    return sorted(sentence.length for sentence in batch)


def queue_of(*tasks: Task) -> Queue:
    queue = Queue(TOKENS, 0.0)
    for each in tasks:
        queue.put(each)
    return queue


def drained(queue: Queue) -> list[list[QueuedSentence]]:
    batches = []
    while batch := queue.take(1.0, 1):
        batches.append(batch)
    return batches


def test_a_batch_is_filled_up_to_its_padded_tokens_with_like_lengths(it: Translator) -> None:
    queue = queue_of(task(it, 20), task(it, 90, 1, 21), task(it, 18, 19, 50))
    assert lengths(queue.take(0.0, 1)) == [18, 19, 20, 21]  # a fifth one would make 105, or be no like length
    assert lengths(queue.take(0.0, 1)) == [90]
    assert lengths(queue.take(0.0, 1)) == [1, 50]
    assert not queue
    assert not queue.take(0.0, 1)


def test_no_batch_is_over_the_bound_and_every_sentence_goes_once(it: Translator) -> None:
    drawn = random.Random(3)
    tasks = [task(it, *(drawn.randint(1, 130) for _ in range(drawn.randint(1, 30)))) for _ in range(60)]
    batches = drained(queue_of(*tasks))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths(batch)) <= TOKENS
    gone = [(sentence.task, sentence.position) for batch in batches for sentence in batch]
    assert len(gone) == len(set(gone)) == sum(len(each.batch.sources) for each in tasks)
    assert all(
        sentence.length == len(sentence.task.batch.sources[sentence.position]) for b in batches for sentence in b
    )


def test_exact_batches_hold_equal_lengths_where_others_matter(it: Translator, integers: Translator) -> None:
    queue = Queue(TOKENS, 0.0, exact=True)
    queue.put(task(integers, 20, 21, 20))
    queue.put(task(integers, 21, 20, 20, 20, 20))
    assert [lengths(batch) for batch in drained(queue)] == [[20] * 5, [21, 21], [20]]
    for exact, translator in ((True, it), (False, integers)):
        queue = Queue(TOKENS, 0.0, exact=exact)
        queue.put(task(translator, 20, 21))
        assert lengths(queue.take(0.0, 1)) == [20, 21]
    watched(integers).mixing = "any"
    queue = Queue(TOKENS, 0.0, exact=True)
    queue.put(task(integers, 20, 21))
    assert lengths(queue.take(0.0, 1)) == [20, 21]


def test_options_and_models_never_mix(it: Translator, general: Translator) -> None:
    wide = TranslationOptions(beam_size=2)
    tasks = [task(it, 5, 5), task(it, 5, options=wide), task(general, 5), task(it, 5), task(general, 5, options=wide)]
    for batch in drained(queue_of(*tasks)):
        assert len({(sentence.task.translator, sentence.task.batch.options) for sentence in batch}) == 1


def test_equal_options_of_different_requests_mix(it: Translator) -> None:
    queue = queue_of(task(it, 5, options=TranslationOptions(2)), task(it, 5, options=TranslationOptions(2)))
    assert lengths(queue.take(0.0, 1)) == [5, 5]


def test_one_sentence_a_batch_where_neighbours_change_a_translation(it: Translator) -> None:
    watched(it).mixing = "none"
    queue = Queue(TOKENS, wait_seconds=5.0)
    queue.put(task(it, 5, 5, 5))
    assert [lengths(queue.take(0.0, 1)) for _ in range(3)] == [[5]] * 3


def test_what_is_no_full_batch_waits_for_company(it: Translator, general: Translator) -> None:
    queue = Queue(TOKENS, wait_seconds=2.0)
    assert queue.delay(0.0) is None
    queue.put(task(it, 30, arrival=10.0))
    queue.put(task(it, 30, arrival=11.0))
    assert not queue.take(11.5, 1)
    assert queue.delay(11.5) == pytest.approx(0.5)
    assert lengths(queue.take(12.0, 1)) == [30, 30]
    queue.put(task(it, 30, arrival=13.0))
    queue.put(task(general, 50, 50, arrival=13.5))
    assert lengths(queue.take(13.5, 1)) == [50, 50]  # full: it need not wait
    assert not queue.take(13.5, 1)
    assert lengths(queue.take(13.5, 1, hurry=True)) == [30]


def test_free_workers_share_what_there_is(it: Translator) -> None:
    queue = queue_of(task(it, *[5] * 12))
    assert lengths(queue.take(0.0, 3)) == [5] * 4
    assert lengths(queue.take(0.0, 2)) == [5] * 4
    assert lengths(queue.take(0.0, 1)) == [5] * 4


def test_a_line_does_not_wait_for_a_book(it: Translator) -> None:
    book = task(it, *[20, 21, 22, 23] * 100)
    queue = queue_of(book)
    for _ in range(10):
        queue.take(0.0, 1)
    lines = [task(it, length) for length in (3, 40, 90)]
    for line in lines:
        queue.put(line)
    for batch in (queue.take(0.0, 1) for _ in range(8)):
        for sentence in batch:
            if sentence.task is not book:
                lines.remove(sentence.task)
    assert not lines


def test_a_book_does_not_wait_for_ever_for_lines(it: Translator) -> None:
    """More lines come than can be translated, all of a length of their own."""
    book = task(it, *[90] * 30)
    queue = queue_of(book)
    for _ in range(60):
        for _ in range(6):
            queue.put(task(it, 20))
        queue.take(0.0, 1)
    assert not book.waiting


def test_other_models_wait_no_longer_than_a_turn(it: Translator, general: Translator) -> None:
    queue = queue_of(task(it, *[25] * 400))
    queue.take(0.0, 1)
    line = task(general, 10)
    queue.put(line)
    assert line in [sentence.task for _ in range(2) for sentence in queue.take(0.0, 1)]


def test_a_removed_task_is_gone_wholly(it: Translator) -> None:
    kept, gone = task(it, 7, 9), task(it, *range(1, 60))
    queue = queue_of(gone, kept)
    queue.take(0.0, 1)
    left = len(queue)
    queue.remove(gone)
    queue.remove(gone)
    assert len(queue) < left
    assert not gone.waiting
    rest = [sentence for batch in drained(queue) for sentence in batch]
    assert {sentence.task for sentence in rest} <= {kept}
    assert not kept.waiting
    assert not queue


def test_many_that_are_put_and_removed_leave_nothing_behind(it: Translator) -> None:
    stays = task(it, 99)
    queue = queue_of(stays)
    for _ in range(500):
        passing = task(it, *range(1, 50))
        queue.put(passing)
        queue.remove(passing)
    (group,) = queue._groups.values()
    assert sum(map(len, group._heaps.values())) <= 2
    assert [sentence.task for sentence in queue.take(0.0, 1)] == [stays]
