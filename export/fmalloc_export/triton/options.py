"""Settings of the models that Triton runs."""

from dataclasses import dataclass
from typing import Literal

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import check_name

ROUTER = "fmalloc"


@dataclass(frozen=True)
class TritonOptions:
    """Settings in every config.pbtxt.

    `instances`: processes per domain, each with a copy of its model (with `cuda`: per GPU).
    `threads`: CPU threads per instance.
    `batch_texts`: the most texts in a batch, and so in a request.
    `queue_seconds`: maximum batching delay.
    `queue_requests`: the most requests that wait for a model; Triton refuses any more.
    `router`: name of the routing model.
    Raises FmallocError for values that Triton would refuse.
    """

    device: Literal["cpu", "cuda"] = "cpu"
    instances: int = 1
    threads: int = 1
    batch_texts: int = 256
    queue_seconds: float = 0.003
    queue_requests: int = 1024
    router: str = ROUTER

    def __post_init__(self) -> None:
        check_name(self.router)
        for name in ("instances", "threads", "batch_texts", "queue_requests"):
            if (value := getattr(self, name)) < 1:
                raise FmallocError(f"{name.replace('_', ' ')} {value}: expected 1 or more")
        if not 0 <= self.queue_seconds <= 60:
            raise FmallocError(f"queue seconds {self.queue_seconds}: expected 0 to 60")
