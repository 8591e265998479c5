"""What `fmalloc pretrain` does: text, tokenizer, model, training, and the folder that is written at the end."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from fmalloc.cache.cache import Cache
from fmalloc.corpus import Pair
from fmalloc.model.architectures import base_bytes, family_of, load_base, load_tokenizer, positions_of, quiet
from fmalloc.model.devices import Device
from fmalloc.model.scratch import POSITIONS, Shape, new_model, train_tokenizer
from fmalloc.pretraining.texts import Text, Texts, encoded
from fmalloc.pretraining.trainable import Pretraining, PretrainingSettings
from fmalloc.training.distributed import Group, processes
from fmalloc.training.interrupts import Interrupts
from fmalloc.training.loop import Training
from fmalloc.training.schedule import ENDLESS, Schedule
from fmalloc.training.validation import Validator
from fmalloc_shared.commands.outputs import check_folder
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sync_directory, sync_tree
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.strict import read_json

_CLIP_NORM = 1.0
_SETTINGS_FILE = "settings.json"


def pretrain(
    train: Sequence[Text],
    output: Path,
    languages: LanguagePair,
    begin: Shape | Path,
    settings: PretrainingSettings,
    device: Device,
    *,
    dry_run: bool = False,
) -> None:
    """Train a model of a shape from scratch, or on from the Marian model in a folder, and write it to `output`.

    State lies in `.<output>.work` beside it until done. A finished output is an error, unless a run was killed
    between its last rename and its clean-up. `dry_run`: check everything, and stop.
    """
    if output.exists():
        _already_there(output, clean_up=not dry_run)
        return
    settings = replace(settings, schedule=replace(settings.schedule, clip_norm=_CLIP_NORM))
    cache = Cache.of_environment(writes=not dry_run)
    with processes() as group, Interrupts():
        texts = group.alike(lambda: _preflight(train, output, languages, begin, settings, cache))
        if dry_run:
            console.print(f"{output}: to be trained, {_length(settings.schedule)}, device {device.torch}")
        else:
            _pretrain(texts, output, languages, begin, settings, device, group, cache)


def _preflight(
    train: Sequence[Text],
    output: Path,
    languages: LanguagePair,
    begin: Shape | Path,
    settings: PretrainingSettings,
    cache: Cache,
) -> Texts:
    """Check all that the training will need until it has written the model, and read the text."""
    if isinstance(begin, Path):
        if (family := family_of(begin)).model_type != "marian":
            raise FmallocError(f"{begin}: a {family.model_type} model; only Marian models can be trained on")
        load_base(begin)  # to see that it is whole
        size, positions = base_bytes(begin), positions_of(begin)
    else:
        size, positions = begin.bytes, POSITIONS
    if settings.maximum_length > positions:
        raise FmallocError(f"--maximum-length {settings.maximum_length}: the model has {positions} positions")
    # A checkpoint with what is trained, its best state and two moments, the model before it is moved into place, and
    # the states that are averaged.
    check_folder(output, room=(5 + settings.average) * size)
    texts = Texts.read(train, languages, cache)
    _check_claim(_work_folder(output), _claim(texts, begin, settings))
    return texts


def _pretrain(
    texts: Texts,
    output: Path,
    languages: LanguagePair,
    begin: Shape | Path,
    settings: PretrainingSettings,
    device: Device,
    group: Group,
    cache: Cache,
) -> None:
    work, schedule = _work_folder(output), settings.schedule
    group.on_first(lambda: _make_work(work, _claim(texts, begin, settings)))
    if not isinstance(begin, Path):
        group.on_first(lambda: _make_tokenizer(texts.train, languages, begin, work / "tokenizer"))
    model, tokenizer = _beginning(begin, schedule.seed, work / "tokenizer")
    batches = texts.batches(tokenizer, languages, settings.maximum_length, settings.batch_tokens, schedule.seed, cache)
    dev = encoded(tokenizer, texts.dev, languages, settings.maximum_length, cache, "dev")
    translated = texts.dev_sample(settings.validation_sentences)
    validator = Validator(tokenizer, languages, dev, translated, device, settings.batch_tokens)
    trainable, path = Pretraining(model, validator, settings, work / "states"), work / "checkpoint.safetensors"
    training = Training(trainable, batches, schedule, device, path, "pretraining")
    training.run()

    best, update = training.progress.curve[training.progress.best], training.progress.update
    loaded = trainable.average(best, update) if settings.average > 1 else best
    group.on_first(lambda: _write(model, tokenizer, work, output))
    console.print(f"saved {output} (dev NLL {loaded.nll:.3f})")


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


def _make_tokenizer(pairs: Sequence[Pair], languages: LanguagePair, shape: Shape, directory: Path) -> None:
    if not (directory / "tokenizer_config.json").is_file():
        with quiet():
            train_tokenizer(pairs, languages, shape.vocabulary, directory)


def _beginning(begin: Shape | Path, seed: int, directory: Path) -> tuple[Any, Any]:
    """The model and the tokenizer to begin with; a new model's tokenizer lies in `directory`."""
    from transformers import MarianMTModel, MarianTokenizer

    with quiet():
        if isinstance(begin, Path):
            return MarianMTModel.from_pretrained(begin, dtype=torch.float32), load_tokenizer(begin)
        tokenizer = MarianTokenizer.from_pretrained(directory)
        return new_model(tokenizer, begin, seed), tokenizer


def _claim(texts: Texts, begin: Shape | Path, settings: PretrainingSettings) -> dict[str, str]:
    """All that decides what is learned; more updates or time may be asked for later."""
    unbound = replace(settings, schedule=replace(settings.schedule, updates=0, minutes=None))
    return {"data": texts.claim(), "begin": str(begin), "settings": str(unbound)}


def _length(schedule: Schedule) -> str:
    updates = f"{schedule.updates:,} updates" if schedule.updates < ENDLESS else "as many updates as fit"
    return f"{updates} in {schedule.minutes:g} minutes" if schedule.minutes else updates


def _check_claim(work: Path, claim: dict[str, str]) -> None:
    """See that what lies in the work folder, if anything, was begun with the same settings."""
    file = work / _SETTINGS_FILE
    if file.is_file():
        begun = read_json(file)
        if not isinstance(begun, dict):
            raise FmallocError(f"{file}: damaged, no settings of a run; delete {work} to begin anew")
        changed = [key for key in claim if begun.get(key) != claim[key]]
        if changed:
            raise FmallocError(
                f"{work} holds a run with other settings ({', '.join(changed)}); "
                "use the same ones to go on, or delete it to begin anew"
            )


def _make_work(work: Path, claim: dict[str, str]) -> None:
    work.mkdir(parents=True, exist_ok=True)
    (work / _SETTINGS_FILE).write_text(json.dumps(claim, indent=2), encoding="utf-8")


def _work_folder(output: Path) -> Path:
    return output.parent / f".{output.name}.work"


def _already_there(output: Path, *, clean_up: bool) -> None:
    """Done, if a run was killed between its last rename and its clean-up; an error otherwise."""
    if not _work_folder(output).exists():
        raise FmallocError(f"{output}: exists already; choose another --output-dir or delete it")
    if clean_up:
        shutil.rmtree(_work_folder(output))
    console.print(f"{output} was finished already")
