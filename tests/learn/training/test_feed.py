"""Batches that are made ahead, on a device without values: what is made is the same as without a thread."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fmalloc.model.text.batches import IGNORED, Batch, Example, TrainingBatches
from fmalloc.training.distributed import Group
from fmalloc.training.feed import Feed
from tests.support.accelerator import META

CPU, PAD = torch.device("cpu"), 7
CONFIG = SimpleNamespace(pad_token_id=PAD, max_position_embeddings=20)


class Noted(TrainingBatches):
    """Which batches were made, and on which thread; `wrong` cannot be."""

    def __init__(self, wrong: int = -1) -> None:
        super().__init__([Example([1] * n, [2] * (n + 1)) for n in range(1, 19)], 40, PAD, 1)
        self.made: list[tuple[int, bool]] = []
        self.wrong = wrong

    def batch(self, update: int) -> Batch:
        if update == self.wrong:
            raise ValueError("no such batch")
        self.made.append((update, threading.current_thread() is threading.main_thread()))
        return super().batch(update)


def shapes(batches: Any, device: torch.device, updates: list[int], **options: Any) -> list[tuple[Any, ...]]:
    feed = Feed(batches, device, CONFIG, **options)
    parts = [feed.part(update) for update in updates]
    feed.close()
    assert all(part.batch.source.device == device for part in parts)
    return [(part.batch.source.shape, part.batch.target.shape, len(part.batch.kept), part.share) for part in parts]


@pytest.mark.parametrize("updates", [[*range(9)], [0, 1, 5, 6, 2, 2], [0, 2, 4, 6]])
def test_batches_made_ahead_are_the_same_in_lengths_of_few_values(updates: list[int]) -> None:
    here, ahead = Noted(), Noted()
    expected, found = shapes(here, CPU, updates), shapes(ahead, META, updates)
    assert [update for update, _ in here.made] == updates and all(on_main for _, on_main in here.made)
    assert not any(on_main for _, on_main in ahead.made)
    for (source, target, tokens, share), (wide_source, wide_target, wide_tokens, wide_share) in zip(
        expected, found, strict=True
    ):
        assert (tokens, share) == (wide_tokens, wide_share)
        assert wide_source[1] in (8, 16, 20) and wide_target[1] in (8, 16, 20)
        assert 0 <= wide_source[1] - source[1] < 8 and 0 <= wide_target[1] - target[1] < 8


def test_a_step_ahead_is_as_long_as_from_one_update_to_the_next() -> None:
    noted = Noted()
    shapes(noted, META, [1, 4, 7], step=3)
    assert [update for update, _ in noted.made][:3] == [1, 4, 7]
    assert all(update % 3 == 1 for update, _ in noted.made)


def test_what_is_added_is_masked() -> None:
    batch = Noted().batch(0)
    wide = batch.ready(META, CONFIG)
    added = slice(batch.source.shape[1], None)
    assert (wide.source[:, added] == PAD).all() and not wide.source_mask[:, added].any()
    assert (wide.target[:, batch.target.shape[1] :] == IGNORED).all()
    assert torch.equal(wide.of_tokens(wide.target), batch.of_tokens(batch.target))
    assert batch.ready(CPU, CONFIG) is batch


def test_processes_share_the_rows_and_the_tokens() -> None:
    parts = [shapes(Noted(), META, [0, 1], group=Group(rank, 3)) for rank in range(3)]
    whole = shapes(Noted(), META, [0, 1])
    for update in range(2):
        assert sum(part[update][2] for part in parts) == whole[update][2]
        assert sum(part[update][3] for part in parts) == pytest.approx(1.0)


def test_an_error_in_making_a_batch_comes_with_its_update() -> None:
    feed = Feed(Noted(wrong=3), META, CONFIG)
    for update in range(3):
        feed.part(update)
    with pytest.raises(ValueError, match="no such batch"):
        feed.part(3)
    feed.close()
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())
