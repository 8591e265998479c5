"""A device that computes shapes alone, and refuses what an accelerator would have to be waited for.

On PyTorch's device `meta` tensors have no values, so whatever reads one fails as loudly as it would wait on a GPU:
`item`, `tolist`, a boolean index, `if tensor`. `Strict` also refuses operations over two devices, which CUDA does not
have, and copies that are not asynchronous.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import optimizer
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from fmalloc.model.devices import Device
from fmalloc.model.text.batches import Batches
from fmalloc.store.records import CurvePoint
from fmalloc.training.loop import Training
from fmalloc.training.schedule import Schedule
from fmalloc.training.trainable import Trainable

META = torch.device("meta")
_COPIES = ("_to_copy", "copy_")


class Nowhere(Device):
    """The device, without autocast, which it does not have."""

    def __init__(self) -> None:
        super().__init__(META, False)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Nothing."""
        yield


class Strict(TorchDispatchMode):
    """Within this context an operation whose tensors lie on two devices is an error, and so is a copy that waits."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, named = function.overloadpacket.__name__, kwargs or {}
        tensors = [t for t in pytree.tree_leaves((args, named)) if isinstance(t, torch.Tensor)]
        places = {tensor.device.type for tensor in tensors if tensor.dim()}
        if name in _COPIES:
            places |= {torch.device(named["device"]).type} if named.get("device") is not None else set()
            waits = not (named.get("non_blocking") or (name == "copy_" and args[2:] == (True,)))
            if len(places) > 1 and waits:
                raise AssertionError(f"{function}: a copy from {places} that is waited for")
        elif len(places) > 1:
            raise AssertionError(f"{function} over the devices {places}")
        return function(*args, **named)


def take_steps(trainable: Trainable, batches: Batches, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two updates on a device where nothing may be read."""
    enabled = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind != "meta" and enabled(kind))
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: ["meta", "cpu"])
    schedule = Schedule(updates=100, warmup_updates=4, validate_every=100, seed=1, clip_norm=1.0)
    training = Training(trainable, batches, schedule, Nowhere(), folder / "checkpoint", "nowhere")
    training.progress.curve.append(
        CurvePoint(update=0, bleu=0.0, chrf=0.0, nll=9.0, nll_shuffled=9.0, claimed=0)  # the first validation
    )
    with Strict():
        for _ in range(2):
            training.take_step()
    training._feed.close()
    if not isinstance(training.optimizer, torch.optim.SGD):  # whose default on CUDA is as few launches
        assert all(group["fused"] for group in training.optimizer.param_groups)
    assert all(tensor.device == META for tensor in trainable.tensors().values())
