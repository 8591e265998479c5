"""Several processes on one task: each computes some rows of every batch, and all take the same step.

`torchrun --nproc-per-node 2 -m fmalloc train recipe.yaml` runs the same program in every process. Importance,
validations and scores are shared out, too. The first one (rank 0) is the only one that writes and shows progress. All
of them need to see the same files.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from fmalloc.model.text.batches import Batch
from fmalloc.training.interrupts import exit_code
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError

# The others wait while the first one writes. A process that dies is noticed at once
# all the same: its connections close, and torchrun ends the rest.
_PATIENCE = timedelta(days=30)


_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Group:
    """The processes that train together, and which of them this one is."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "Group":
        """The group that `processes` has joined; this process alone otherwise."""
        joined = dist.is_available() and dist.is_initialized()
        return cls(dist.get_rank(), dist.get_world_size()) if joined else cls()

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def rows(self, batch: Batch) -> Batch:
        """This process's rows of a batch, possibly none."""
        if self.size == 1:
            return batch
        return batch.rows(slice(self.rank, None, self.size))

    def add_up(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sum over all processes of each tensor."""
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        _together(lambda: dist.all_reduce(flat))
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def equalise(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the first one's values, in place."""
        if self.size > 1:
            for tensor in tensors:
                _together(lambda tensor=tensor: dist.broadcast(tensor.data, 0))  # type: ignore[misc]

    def largest(self, value: int) -> int:
        """The largest value of all processes."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value)
        _together(lambda: dist.all_reduce(tensor, dist.ReduceOp.MAX))
        return int(tensor)

    def fail(self, message: str, kind: type[FmallocError] = FmallocError) -> NoReturn:
        """End all processes over an error that all of them see; only the first one prints it."""
        if self.first:
            raise kind(message)
        raise SystemExit(2)

    def alike(self, work: Callable[[], _Value]) -> _Value:
        """What `work` returns, which every process does for itself.

        Raises:
            FmallocError: `work` raised it on this process. An error on the first process is printed only there.
        """
        try:
            value = work()
        except FmallocError:
            said = self.on_first(lambda: True)
            self.largest(1)
            if said and not self.first:
                raise SystemExit(2) from None
            raise
        self.on_first(lambda: False)
        if self.largest(0):
            raise SystemExit(2)  # another process prints why
        return value

    def shared(self, items: Sequence[Any], work: Callable[[Sequence[Any]], Sequence[Any]]) -> Sequence[Any]:
        """What `work` returns for all items, one JSON-able result per item; every process works on some of them.

        Raises:
            whatever `work` raises. The others then end silently.
        """
        if self.size == 1:
            return work(items)
        mine = items[self.rank :: self.size]
        found: list[Any] = [None] * len(items)
        for rank, part in enumerate(self._each(lambda: list(work(mine)) if len(mine) else [])):
            found[rank :: self.size] = part
        return found

    def _each(self, work: Callable[[], Any]) -> list[Any]:
        """What `work` returns in every process, by rank."""
        try:
            answer = {"value": work()}
        except BaseException as error:
            with suppress(FmallocError):
                _exchange({"ended": exit_code(error)}, self.size)
            raise
        answers = _exchange(answer, self.size)
        for other in answers:
            if "ended" in other:
                raise SystemExit(other["ended"])
        return [other["value"] for other in answers]

    def on_first(self, work: Callable[[], Any]) -> Any:
        """What `work` returns (JSON-able) on the first process, for all of them; the others wait.

        Raises:
            whatever `work` raises. The others then end silently.
        """
        if self.size == 1:
            return work()
        self.largest(0)  # no process writes before all have read what it replaces
        if not self.first:
            answer = _receive()
            if "ended" in answer:
                raise SystemExit(answer["ended"])
            return answer["value"]
        try:
            value = work()
        except BaseException as error:
            with suppress(FmallocError):
                _send({"ended": exit_code(error)})
            raise
        _send({"value": value})
        return value


@contextmanager
def processes() -> Iterator[Group]:
    """Join the processes that torchrun started with this one, if any; only the first one prints."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield Group.current()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    group = Group.current()
    try:
        console.quiet = not group.first
        yield group
    except KeyboardInterrupt:
        if not group.first:
            raise SystemExit(exit_code(KeyboardInterrupt())) from None
        raise
    finally:
        dist.destroy_process_group()


def _send(answer: dict[str, Any]) -> None:
    data = json.dumps(answer).encode()
    _together(lambda: dist.broadcast(torch.tensor(len(data)), 0))
    _together(lambda: dist.broadcast(torch.frombuffer(bytearray(data), dtype=torch.uint8), 0))


def _exchange(answer: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """The answers of all processes, by rank."""
    data = torch.frombuffer(bytearray(json.dumps(answer).encode()), dtype=torch.uint8)
    lengths = [torch.tensor(0) for _ in range(size)]
    _together(lambda: dist.all_gather(lengths, torch.tensor(len(data))))
    longest = max(map(int, lengths))
    padded = torch.zeros(longest, dtype=torch.uint8)
    padded[: len(data)] = data
    parts = [torch.empty_like(padded) for _ in range(size)]
    _together(lambda: dist.all_gather(parts, padded))
    return [json.loads(part[: int(n)].numpy().tobytes()) for part, n in zip(parts, lengths, strict=True)]


def _receive() -> dict[str, Any]:
    length = torch.tensor(0)
    _together(lambda: dist.broadcast(length, 0))
    data = torch.empty(int(length), dtype=torch.uint8)
    _together(lambda: dist.broadcast(data, 0))
    answer: dict[str, Any] = json.loads(data.numpy().tobytes())
    return answer


def _together(exchange: Callable[[], Any]) -> None:
    try:
        exchange()
    except RuntimeError as error:
        raise FmallocError("another process of this run has ended; its own message gives the reason") from error
