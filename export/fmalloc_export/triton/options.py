"""How Triton is to run the models."""

from dataclasses import dataclass
from typing import Literal

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import check_name

ROUTER = "fmalloc"


@dataclass(frozen=True)
class TritonOptions:
    """Settings that go into every config.pbtxt.

    `instances`: processes of each domain, each with a copy of its model (with `cuda`: on each GPU).
    `threads`: CPU threads of each instance.
    `batch_texts`: most texts in a batch, and so in a request.
    `queue_seconds`: how long a batch waits for company.
    `queue_requests`: requests that may wait for a model; Triton refuses what comes then.
    `router`: name of the model that routes.
    Raises FmallocError for values that Triton would not take.
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
