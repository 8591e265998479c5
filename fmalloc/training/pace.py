"""The pace of training on the machine at hand, measured on a few updates that change nothing."""

import time

import torch

from fmalloc.model.devices import Device
from fmalloc.model.text.batches import Batches
from fmalloc.training.feed import Feed
from fmalloc.training.trainable import Trainable

# Updates that are timed, after one that warms up.
_TIMED = 3
# Of the minutes; validations take the rest.
_TRAINING_SHARE = 0.9
_FEWEST = 8


def seconds_per_update(trainable: Trainable, batches: Batches, device: Device) -> float:
    """Forward and backward pass of the first batches; the optimizer's step is small beside them."""
    trainable.before_update(0)
    feed = Feed(batches, device.torch, trainable.model.config)
    for update in range(_TIMED + 1):
        if update == 1:
            begun = now(device)
        with device.autocast():
            loss = trainable.loss(feed.part(update).batch)
        loss.backward()  # type: ignore[no-untyped-call]
    seconds = (now(device) - begun) / _TIMED
    feed.close()
    trainable.model.zero_grad(set_to_none=True)
    return seconds


def updates_in(minutes: float, seconds: float) -> int:
    """How many updates of so many seconds fit, with time for validations."""
    return max(_FEWEST, int(_TRAINING_SHARE * 60 * minutes / seconds))


def now(device: Device) -> float:
    """Seconds of a clock, once the device has done what it was given."""
    if device.torch.type == "cuda":
        torch.cuda.synchronize(device.torch)
    return time.perf_counter()
