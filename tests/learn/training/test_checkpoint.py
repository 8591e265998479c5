from pathlib import Path

import pytest
import torch

from fmalloc.training.checkpoint import Checkpoint, Interval, optimizer_tensors, restore_optimizer
from fmalloc_shared.errors import FmallocError


def stepped(parameter: torch.Tensor, optimizer: torch.optim.Optimizer, steps: int) -> torch.Tensor:
    for _ in range(steps):
        optimizer.zero_grad()
        (parameter**3).sum().backward()
        optimizer.step()
    return parameter.detach().clone()


def adam(start: torch.Tensor) -> tuple[torch.Tensor, torch.optim.Optimizer]:
    parameter = start.clone().requires_grad_()
    return parameter, torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.1)


def test_an_optimizer_goes_on_exactly_where_it_was(tmp_path: Path) -> None:
    start = torch.tensor([0.3, -0.7, 1.1])
    straight = stepped(*adam(start), 7)
    parameter, optimizer = adam(start)
    tensors = {"weights": stepped(parameter, optimizer, 4)} | optimizer_tensors(optimizer)
    Checkpoint(tensors, {"update": 4}).write(tmp_path / "c.safetensors")
    read = Checkpoint.read(tmp_path / "c.safetensors")
    assert read is not None
    assert read.state == {"update": 4}
    parameter, optimizer = adam(read.tensors["weights"])
    restore_optimizer(optimizer, read.tensors)
    assert torch.equal(stepped(parameter, optimizer, 3), straight)


def test_none_and_damaged(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    assert Checkpoint.read(path) is None
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(FmallocError, match="damaged checkpoint .*delete it"):
        Checkpoint.read(path)


def test_an_interval_passes_once_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMALLOC_CHECKPOINT_SECONDS", "0")
    assert Interval().passed()
    monkeypatch.setenv("FMALLOC_CHECKPOINT_SECONDS", "1000")
    assert not Interval().passed()
