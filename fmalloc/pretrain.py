"""fmalloc pretrain: a base translation model from scratch, in transformers' layout of Marian models."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fmalloc.corpus import Pair, digest, read_corpus
from fmalloc.model.architectures import family_of, quiet
from fmalloc.model.batches import Batch, TrainingBatches, encode
from fmalloc.model.devices import Device
from fmalloc.model.objective import smoothed_loss
from fmalloc.model.scratch import Shape, new_model, train_tokenizer, zero_padding_row
from fmalloc.progress import console
from fmalloc.store.records import CurvePoint
from fmalloc.training.distributed import Group, processes
from fmalloc.training.interrupts import Interrupts
from fmalloc.training.loop import Trainable, Training
from fmalloc.training.schedule import Schedule
from fmalloc.training.validation import Validator
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sync_directory, sync_tree
from fmalloc_shared.languages import LanguagePair

_CLIP_NORM = 1.0


@dataclass(frozen=True)
class PretrainingSettings:
    """How a base model is trained: `schedule` for the loop, and what its batches, loss and optimizer are made with."""

    schedule: Schedule
    batch_tokens: int
    learning_rate: float
    maximum_length: int
    label_smoothing: float


class Pretraining(Trainable):
    """Every parameter of a model."""

    pretrained = False

    def __init__(self, model: Any, validator: Validator, settings: PretrainingSettings) -> None:
        self.model, self.validator, self.settings = model.to(validator.device.torch), validator, settings

    def tensors(self) -> dict[str, Tensor]:
        """All parameters; tied ones once."""
        return dict(self.model.named_parameters())

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over everything."""
        return torch.optim.Adam(self.model.parameters(), lr=self.settings.learning_rate, betas=(0.9, 0.98))

    def before_update(self, _update: int) -> None:
        """Dropout on."""
        self.model.train()

    def loss(self, batch: Batch) -> Tensor:
        """Label-smoothed cross-entropy."""
        return smoothed_loss(self.model, batch, self.settings.label_smoothing)

    def after_update(self) -> None:
        """The padding row stays zero."""
        zero_padding_row(self.model)

    def validate(self, update: int) -> CurvePoint:
        """NLL on dev."""
        return self.validator.point(self.model, update)


def pretrain(
    train: Path,
    output: Path,
    languages: LanguagePair,
    begin: Shape | Path,
    settings: PretrainingSettings,
    device: Device,
) -> None:
    """Train a model of a shape from scratch, or on from the Marian model in a folder, and write it to `output`.

    State lies in `.<output>.work` beside it until done. A finished output is an error, unless a run was killed
    between its last rename and its clean-up.
    """
    if output.exists():
        _already_there(output)
        return
    with processes() as group, Interrupts():
        _pretrain(train, output, languages, begin, settings, device, group)


def _pretrain(
    train: Path,
    output: Path,
    languages: LanguagePair,
    begin: Shape | Path,
    settings: PretrainingSettings,
    device: Device,
    group: Group,
) -> None:
    corpus = read_corpus(train, languages)
    corpus.report.show(str(train))
    work = _work_folder(output)
    schedule = replace(settings.schedule, clip_norm=_CLIP_NORM)
    claim = {
        "data": digest(corpus.train),
        "begin": str(begin),
        "settings": str(replace(settings, schedule=replace(schedule, updates=0))),
    }
    group.on_first(lambda: _claim(work, claim))
    if not isinstance(begin, Path):
        group.on_first(lambda: _make_tokenizer(corpus.train, languages, begin, work / "tokenizer"))
    model, tokenizer = _beginning(begin, schedule.seed, work / "tokenizer")
    parts = []
    for part, pairs in (("train", corpus.train), ("dev", corpus.dev)):
        encoded = encode(tokenizer, pairs, languages, maximum_length=settings.maximum_length)
        console.print(f"{part}: {encoded.described(settings.maximum_length)}")
        parts.append(encoded.examples)
    train_examples, dev_examples = parts
    validator = Validator(tokenizer, languages, dev_examples, (), device, settings.batch_tokens)
    batches = TrainingBatches(train_examples, settings.batch_tokens, tokenizer.pad_token_id, schedule.seed)
    trainable, path = Pretraining(model, validator, settings), work / "checkpoint.safetensors"
    training = Training(trainable, batches, schedule, device, path, "pretraining")
    training.run()
    group.on_first(lambda: _write(model, tokenizer, work, output))
    console.print(f"saved {output} (best dev NLL {training.progress.curve[training.progress.best].nll:.3f})")


def _write(model: Any, tokenizer: Any, work: Path, output: Path) -> None:
    finished = work / "finished"
    shutil.rmtree(finished, ignore_errors=True)
    with quiet():
        model.cpu().save_pretrained(finished)
        tokenizer.save_pretrained(finished)
    sync_tree(finished)
    finished.rename(output)
    sync_directory(output.parent)
    shutil.rmtree(work)


def _make_tokenizer(pairs: tuple[Pair, ...], languages: LanguagePair, shape: Shape, directory: Path) -> None:
    if not (directory / "tokenizer_config.json").is_file():
        with quiet():
            train_tokenizer(pairs, languages, shape.vocabulary, directory)


def _beginning(begin: Shape | Path, seed: int, directory: Path) -> tuple[Any, Any]:
    """The model and the tokenizer to begin with; a new model's tokenizer lies in `directory`."""
    from transformers import MarianMTModel, MarianTokenizer

    if isinstance(begin, Path) and (family := family_of(begin)).model_type != "marian":
        raise FmallocError(f"{begin}: a {family.model_type} model; only Marian models can be trained on")
    with quiet():
        if isinstance(begin, Path):
            return MarianMTModel.from_pretrained(begin, dtype=torch.float32), MarianTokenizer.from_pretrained(begin)
        tokenizer = MarianTokenizer.from_pretrained(directory)
        return new_model(tokenizer, begin, seed), tokenizer


def _claim(work: Path, settings: dict[str, str]) -> None:
    """Make the work folder, or check that what lies there was begun with the same settings."""
    work.mkdir(parents=True, exist_ok=True)
    file = work / "settings.json"
    if file.is_file():
        begun = json.loads(file.read_text(encoding="utf-8"))
        changed = [key for key in settings if begun.get(key) != settings[key]]
        if changed:
            raise FmallocError(
                f"{work} holds a run with other settings ({', '.join(changed)}); "
                "use the same ones to go on, or delete it to begin anew"
            )
    file.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _work_folder(output: Path) -> Path:
    return output.with_name(f".{output.name}.work")


def _already_there(output: Path) -> None:
    """Done, if a run was killed between its last rename and its clean-up; an error otherwise."""
    if not _work_folder(output).exists():
        raise FmallocError(f"{output}: exists already; choose another --output-dir or delete it")
    shutil.rmtree(_work_folder(output))
    console.print(f"{output} was finished already")
