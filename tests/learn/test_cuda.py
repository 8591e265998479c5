"""Learning on CUDA as on a CPU: the same bodies on both, those on CUDA marked `cuda` and skipped where there is none.

They need no fixtures of others, so that they run with what a machine with a GPU has: `make gpu` runs them.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fmalloc.evaluation.evaluate import translate
from fmalloc.evaluation.likelihood import losses
from fmalloc.learning.cells.allocation import Allocation
from fmalloc.learning.importance import cell_importance
from fmalloc.learning.learner import Learner
from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.devices import Device, select
from fmalloc.model.text.batches import TrainingBatches, encode
from fmalloc.recipe import LearningSettings
from fmalloc.training.loop import Training
from fmalloc.training.validation import Validator
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES, PAIRS
from tests.support.corpora import write_domain
from tests.support.killing import environment, run_and_kill, run_through
from tests.support.needs import skip_without

PLACES = ("cpu", pytest.param("cuda", marks=pytest.mark.cuda))
CPU = Device(torch.device("cpu"), bfloat16=False)
SETTINGS = LearningSettings(
    updates=6, batch_tokens=120, learning_rate=5e-3, warmup_updates=1, anneal_updates=3, validate_every=6
)
families = pytest.mark.parametrize("kind", sorted(BASES))


@pytest.fixture(params=PLACES)
def device(request: pytest.FixtureRequest) -> Device:
    """Where the test computes, in float32."""
    if request.param == "cuda" and not torch.cuda.is_available():
        skip_without("cuda")
    torch.set_num_threads(1)
    return select(request.param, "float32")


def base_of(kind: str, folder: Path) -> tuple[Path, LanguagePair]:
    """A tiny random base; without dropout, which devices draw differently."""
    write, _, pair = BASES[kind]
    if not folder.exists():
        write(folder)
    return folder, LanguagePair(*pair)


def loaded(kind: str, folder: Path) -> tuple[Any, Any, LanguagePair]:
    path, languages = base_of(kind, folder)
    return *load_base(path, languages), languages


def learned(kind: str, folder: Path, device: Device) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The NLL at the start and the end, and what was learned."""
    model, tokenizer, languages = loaded(kind, folder / "base")  # one base: some are drawn anew each time
    for module in model.modules():
        for name in ("dropout", "activation_dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    examples = encode(tokenizer, PAIRS, languages, maximum_length=60).examples
    batches = TrainingBatches(examples, SETTINGS.batch_tokens, tokenizer.pad_token_id, 1)
    allocations = {}
    for layer in feed_forward_layers(model):
        cells, none = np.arange(layer.width), np.empty(0, dtype=np.int64)
        allocations[layer.name] = Allocation(layer.width, cells[8:], none, cells[:8])
    validator = Validator(tokenizer, languages, examples, (), device, 240)
    learner = Learner(model, allocations, batches, validator, SETTINGS)
    path = folder / "checkpoint.safetensors"
    training = Training(learner, batches, SETTINGS.schedule(), device, path, "test")
    training.run()
    path.unlink(missing_ok=True)
    curve = training.progress.curve
    return [curve[0].nll, curve[-1].nll], {name: tensor.cpu() for name, tensor in learner.tensors().items()}


@families
def test_every_family_learns_what_it_learns_on_a_cpu(kind: str, device: Device, tmp_path: Path) -> None:
    expected, found = (learned(kind, tmp_path, place) for place in (CPU, device))
    assert found[0][1] < found[0][0]
    assert found[0] == pytest.approx(expected[0], rel=1e-3)
    for name, tensor in found[1].items():
        torch.testing.assert_close(tensor, expected[1][name], atol=2e-2, rtol=1e-2)


@families
def test_every_family_translates_and_scores_as_on_a_cpu(kind: str, device: Device, tmp_path: Path) -> None:
    found = []
    for place in (CPU, device):
        model, tokenizer, languages = loaded(kind, tmp_path / "base")
        model.to(place.torch)
        sources = [pair.source for pair in PAIRS]
        tokens = [translate(model, tokenizer, sources, languages, beam_size=size).tokens for size in (1, 4)]
        found.append((tokens, losses(model, tokenizer, PAIRS, languages)))
    (expected, likely), (tokens, as_likely) = found
    np.testing.assert_allclose(as_likely, likely, rtol=1e-4)
    same = [a == b for mine, theirs in zip(tokens, expected, strict=True) for a, b in zip(mine, theirs, strict=True)]
    assert sum(same) >= 0.9 * len(same)  # near-ties of random models may fall the other way


def test_importance_is_measured(device: Device, tmp_path: Path) -> None:
    path, languages = base_of("marian", tmp_path / "base")
    examples = encode(load_base(path, languages)[1], PAIRS, languages, maximum_length=60).examples
    found = cell_importance(path, examples, device, batches=4, batch_tokens=120, seed=1, languages=languages)
    assert found.record.batches == 4
    assert all(np.isfinite(values).all() and values.any() for values in found.values.values())


def test_in_bfloat16_it_learns_too(device: Device, tmp_path: Path) -> None:
    (before, after), _ = learned("marian", tmp_path, Device(device.torch, bfloat16=True))
    assert after < before


def pretraining(folder: Path, device: Device) -> list[str]:
    """A command that trains a tiny base."""
    shape = "--vocab-size 100 --d-model 16 --encoder-layers 1 --decoder-layers 1 --heads 2 --ffn 32"
    pace = "--updates 120 --batch-tokens 400 --warmup-updates 20 --validate-every 40 --validation-sentences 0"
    where = f"--device {device.torch.type} --precision float32 --average 2"
    paths = ["--train", str(folder.parent / "general"), "--output-dir", str(folder)]
    return [sys.executable, "-m", "fmalloc", "pretrain", *paths, *f"{shape} {pace} {where}".split()]


@pytest.mark.parametrize("place", [pytest.param("cpu", marks=pytest.mark.slow), PLACES[1]])
def test_a_killed_pretraining_goes_on_to_the_same_end(place: str, tmp_path: Path) -> None:
    if place == "cuda" and not torch.cuda.is_available():
        skip_without("cuda")
    device = select(place, "float32")
    write_domain(tmp_path / "general", "general")
    run_through(pretraining(tmp_path / "straight", device))
    killed = tmp_path / "killed"
    run_and_kill(
        pretraining(killed, device),
        3,
        1,
        checkpoint=tmp_path / ".killed.work" / "checkpoint.safetensors",
        after=killed.exists,
    )
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("straight", "killed"))
    for name, tensor in expected.items():
        if place == "cpu":
            assert torch.equal(found[name], tensor), name
        else:  # sums on a GPU have no fixed order
            torch.testing.assert_close(found[name], tensor, atol=5e-2, rtol=5e-2)


@pytest.mark.cuda
def test_several_processes_find_the_gpus_that_are_there() -> None:
    """One more process than GPUs is refused with their number."""
    if not torch.cuda.is_available():
        skip_without("cuda")
    count = torch.cuda.device_count()
    found = chosen({"LOCAL_RANK": str(count)})
    assert found.returncode != 0 and f"than its {count} CUDA devices" in found.stderr
    assert chosen({"LOCAL_RANK": "0"}).stdout.strip() == "cuda:0"


def chosen(more: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    code = "from fmalloc.model.devices import select; print(select('cuda').torch)"
    command: Sequence[str] = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment(**more), capture_output=True, text=True, check=False)
