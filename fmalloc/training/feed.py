"""The batches of a training, on its device in time: on an accelerator they are made ahead, on a thread of their own."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch

from fmalloc.model.text.batches import Batch, Batches
from fmalloc.training.distributed import Group

# Batches that wait, made, for their update: enough for one that takes long, and few megabytes.
_AHEAD = 4


class Part(NamedTuple):
    """A process's rows of a batch, possibly none, and their share of its target tokens."""

    batch: Batch
    share: float


class Feed:
    """Hands out batches in the order of updates; one out of order is made when it is asked for.

    config: of the model, whose padding and positions batches on an accelerator are widened by. group: the processes
    that share the rows of a batch out. step: from one update to the next, where processes share out whole batches.
    """

    def __init__(
        self, batches: Batches, device: torch.device, config: Any, group: Group | None = None, *, step: int = 1
    ) -> None:
        self._batches, self._device, self._config, self._group = batches, device, config, group or Group()
        self._step = step
        self._maker = ThreadPoolExecutor(1, "batches") if device.type != "cpu" else None
        self._waiting: deque[tuple[int, Future[Part]]] = deque()

    def part(self, update: int) -> Part:
        """This process's part of an update's batch, on the device; an error in making it is raised here."""
        if self._maker is None:
            return self._made(update)
        if self._waiting and self._waiting[0][0] != update:
            self._drop()
        for ahead in range(update + self._step * len(self._waiting), update + self._step * _AHEAD, self._step):
            self._waiting.append((ahead, self._maker.submit(self._made, ahead)))
        batch, share = self._waiting.popleft()[1].result()
        return Part(batch.to(self._device), share)

    def close(self) -> None:
        """Make no more."""
        self._drop()
        if self._maker is not None:
            self._maker.shutdown()

    def _made(self, update: int) -> Part:
        whole = self._batches.batch(update)
        part = self._group.rows(whole)
        share = part.target_tokens / max(1, whole.target_tokens) if self._group.size > 1 else 1.0
        return Part(part.ready(self._device, self._config), share)

    def _drop(self) -> None:
        while self._waiting:
            self._waiting.popleft()[1].cancel()
