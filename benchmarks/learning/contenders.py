"""What benchmarks/learning/train.py compares, on a real base and on random weights in a published model's shape."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import MarianMTModel

from benchmarks.compiler.shapes import OPUS_MT, Shape, config_of
from benchmarks.learning.masking import GradientMasking
from fmalloc.corpus import read_corpus
from fmalloc.learning.cells.allocation import Allocation
from fmalloc.learning.learner import Learner
from fmalloc.methods.finetuning import FineTuning
from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.devices import Device
from fmalloc.model.text.batches import Example, TrainingBatches, encode
from fmalloc.recipe import LearningSettings
from fmalloc.store.records import CurvePoint
from fmalloc.training.trainable import Trainable
from fmalloc.training.validation import Validator
from fmalloc_shared.languages import LanguagePair

WRITABLE = 0.2
CONTENDERS = {
    "blocks": "read-only and writable cells as blocks of their own: fmalloc",
    "masking": "all cells are parameters, the gradient of protected ones is zeroed: research code",
    "masking, our loss": "the same, with our loss of a frozen projection",
    "full": "fine-tuning of all parameters",
}
COMPILED = "blocks, compiled"
_PAIRS = 4000
_VOCABULARY = 57_851  # OPUS-MT's, with two sides of 32,000 pieces
_BATCH_TOKENS = {"base": 4096, "OPUS-MT": 1024}


@dataclass(frozen=True)
class Case:
    """A base (a folder, or a shape to draw weights for), and batches of a domain's text."""

    name: str
    base: Path
    shape: Shape | None
    examples: Sequence[Example]
    pad: int
    settings: LearningSettings

    def model(self) -> Any:
        """A new model with frozen parameters."""
        return load_base(self.base)[0] if self.shape is None else _random(self.shape)

    def batches(self) -> TrainingBatches:
        """The same batches for all."""
        return TrainingBatches(self.examples, self.settings.batch_tokens, self.pad, self.settings.seed)

    def described(self) -> dict[str, Any]:
        """What a reader has to know."""
        config = self.model().config
        names = ("d_model", "encoder_layers", "decoder_layers", "encoder_ffn_dim", "vocab_size", "dropout")
        sizes = {name: getattr(config, name) for name in names}
        return sizes | {"batch_tokens": self.settings.batch_tokens, "activation": config.activation_function}


def case_of(name: str, base: Path, corpora: Path) -> Case:
    """The real base with the text of `corpora/it`; or random weights, and random tokens in sentences as long."""
    languages = LanguagePair("de", "en")
    _, tokenizer = load_base(base, languages)
    settings = LearningSettings(batch_tokens=_BATCH_TOKENS[name], maximum_length=128, fresh_cells=False).fitted(2000)
    pairs = read_corpus(corpora / "it", languages).train[:_PAIRS]
    examples = encode(tokenizer, pairs, languages, maximum_length=128).examples
    if name == "base":
        return Case(name, base, None, examples, tokenizer.pad_token_id, settings)
    draw = np.random.default_rng(5)
    random = [Example(*(draw.integers(2, _VOCABULARY - 1, len(side)).tolist() for side in e)) for e in examples]
    return Case(name, base, OPUS_MT, random, _VOCABULARY - 1, settings)


def contender(name: str, case: Case, device: Device) -> Trainable:
    """What is trained, on a model of its own."""
    torch.manual_seed(1)
    model = case.model().to(device.torch)
    validator: Any = untested(device)
    if name == "full":
        return FineTuning(model, validator, case.settings)
    draw = np.random.default_rng(2)
    allocations = {}
    for layer in feed_forward_layers(model):
        cells = draw.permutation(layer.width)
        count = round(WRITABLE * layer.width)
        none = np.empty(0, dtype=np.int64)
        allocations[layer.name] = Allocation(layer.width, np.sort(cells[count:]), none, np.sort(cells[:count]))
    if name in ("blocks", COMPILED):
        learner = Learner(model, allocations, case.batches(), validator, case.settings)
        if name == COMPILED:
            for layer in (*model.model.encoder.layers, *model.model.decoder.layers):
                layer.compile(dynamic=True)
        return learner
    writable = {}
    for layer_name, allocation in allocations.items():
        writable[layer_name] = torch.zeros(allocation.width, dtype=torch.bool)
        writable[layer_name][torch.from_numpy(allocation.writable)] = True
    return GradientMasking(model, writable, case.settings, blocked_loss="our loss" in name)


class _Untested(Validator):
    """Only steps are measured."""

    def __init__(self, device: Device) -> None:
        object.__setattr__(self, "device", device)

    def point(self, _model: Any, update: int, claimed: int = 0) -> CurvePoint:
        """No score."""
        return CurvePoint(update=update, bleu=0, chrf=0, nll=math.inf, nll_shuffled=math.inf, claimed=claimed)


def untested(device: Device) -> Any:
    """A validator that scores nothing."""
    return _Untested(device)


def _random(shape: Shape) -> Any:
    torch.manual_seed(1)
    model = MarianMTModel(config_of(shape, _VOCABULARY))
    model.config.use_cache = False
    return model.eval().requires_grad_(False)
