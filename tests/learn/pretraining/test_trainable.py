"""The average of the last validated states is taken if it is better on dev."""

from pathlib import Path

import pytest
import torch

from fmalloc.model.architectures import load_base
from fmalloc.model.devices import select
from fmalloc.model.text.batches import encode
from fmalloc.pretraining.trainable import Pretraining, PretrainingSettings
from fmalloc.store.records import CurvePoint
from fmalloc.training.schedule import Schedule
from fmalloc.training.validation import Validator
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES
from tests.support.tiny_pieces import PAIRS

LANGUAGES = LanguagePair("de", "en")


@pytest.fixture
def trainable(tmp_path: Path) -> Pretraining:
    BASES["marian"][0](tmp_path / "base")
    model, tokenizer = load_base(tmp_path / "base", LANGUAGES)
    examples = encode(tokenizer, PAIRS, LANGUAGES, maximum_length=60).examples
    validator = Validator(tokenizer, LANGUAGES, examples, (), select("cpu"), 400)
    schedule = Schedule(updates=40, warmup_updates=4, validate_every=10, seed=1)
    settings = PretrainingSettings(schedule, 400, 1e-3, 60, 0.1, average=3)
    return Pretraining(model, validator, settings, tmp_path / "states")


def validated(trainable: Pretraining) -> list[dict[str, torch.Tensor]]:
    """States of five validations, the first before any update."""
    found = []
    for update in (0, 10, 20, 30, 40):
        generator = torch.Generator().manual_seed(update)
        with torch.no_grad():
            for tensor in trainable.tensors().values():
                tensor += torch.randn(tensor.shape, generator=generator) / 100
        trainable.validate(update)
        found.append({name: tensor.detach().clone() for name, tensor in trainable.tensors().items()})
    return found


def point(nll: float) -> CurvePoint:
    return CurvePoint(update=40, bleu=0.0, chrf=0.0, nll=nll, nll_shuffled=nll, claimed=0)


def test_the_last_states_are_kept_and_averaged(trainable: Pretraining) -> None:
    states = validated(trainable)
    assert sorted(path.name for path in trainable.states.iterdir()) == [f"{n}.safetensors" for n in (20, 30, 40)]
    loaded = trainable.average(point(99.0), 40)
    for name, tensor in trainable.tensors().items():
        mean = torch.stack([state[name].double() for state in states[2:]]).mean(0).float()
        assert torch.allclose(tensor, mean, atol=1e-7)
    assert loaded.nll == trainable.validator.point(trainable.model, 40).nll < 99


def test_a_better_state_stays(trainable: Pretraining) -> None:
    states = validated(trainable)
    best = point(0.001)
    assert trainable.average(best, 40) == best
    for name, tensor in trainable.tensors().items():
        assert torch.equal(tensor, states[-1][name])


def test_a_state_from_before_a_kill_is_made_again(trainable: Pretraining) -> None:
    """The checkpoint may be older than the last states: they are neither averaged nor do they push out others."""
    validated(trainable)
    trainable.validate(30)
    assert sorted(path.name for path in trainable.states.iterdir()) == [f"{n}.safetensors" for n in (20, 30, 40)]
    before = {path: path.read_bytes() for path in trainable.states.iterdir()}
    trainable.average(point(99.0), 30)
    assert {path: path.read_bytes() for path in trainable.states.iterdir()} == before
