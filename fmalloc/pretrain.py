"""fmalloc-pretrain: a base translation model from scratch, in transformers' layout of Marian models."""

import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from fmalloc.architectures import family_of, quiet
from fmalloc.batches import TrainingBatches, encode
from fmalloc.checkpoint import Checkpoint, Interval, optimizer_tensors, restore_optimizer
from fmalloc.corpus import Languages, Pair, digest, read_corpus
from fmalloc.devices import Device, select
from fmalloc.objective import check_loss, inverse_square_root, nll, smoothed_loss
from fmalloc.progress import bar, console
from fmalloc.scratch import Shape, new_model, train_tokenizer, zero_padding_row
from fmalloc_shared.command import Command
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sync_directory, sync_tree


@dataclass(frozen=True)
class Schedule:
    """How long and how to optimise (Adam, inverse square root)."""

    updates: int
    batch_tokens: int
    learning_rate: float
    warmup_updates: int
    validate_every: int
    maximum_length: int
    label_smoothing: float
    seed: int


class Pretraining:
    """Optimisation of a whole model on a corpus, resumable from `work`/checkpoint.safetensors."""

    def __init__(self, model: Any, tokenizer: Any, device: Device, schedule: Schedule, work: Path) -> None:
        self.model = model.to(device.torch).train()
        self.device, self.schedule, self.path = device, schedule, work / "checkpoint.safetensors"
        self.pad = tokenizer.pad_token_id
        self.optimizer = torch.optim.Adam(model.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.98))
        self.update, self.best_nll = 0, math.inf
        self.best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        if checkpoint := Checkpoint.read(self.path):
            weights = {n.removeprefix("model."): t for n, t in checkpoint.tensors.items() if n.startswith("model.")}
            self.model.load_state_dict(weights)
            self.best = {n.removeprefix("best."): t for n, t in checkpoint.tensors.items() if n.startswith("best.")}
            restore_optimizer(self.optimizer, checkpoint.tensors)
            self.update, self.best_nll = checkpoint.state["update"], checkpoint.state["best_nll"]
            console.print(f"resuming at update {self.update}")

    def save(self) -> None:
        """Replace the checkpoint."""
        tensors = {f"model.{name}": tensor.clone() for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor.clone() for name, tensor in self.best.items()}
        Checkpoint(
            tensors | optimizer_tensors(self.optimizer), {"update": self.update, "best_nll": self.best_nll}
        ).write(self.path)

    def run(self, train: Any, dev: Any) -> None:
        """Optimise until `updates`, validating on the way; `best` holds the weights of lowest dev NLL."""
        schedule = self.schedule
        batches = TrainingBatches(train, schedule.batch_tokens, self.pad, schedule.seed)
        interval = Interval()
        with bar("pretraining", schedule.updates, self.update) as advance:
            while self.update < schedule.updates:
                loss = self._step(batches)
                advance(note=f"loss {loss:.3f}")
                if self.update % schedule.validate_every == 0 or self.update == schedule.updates:
                    self._validate(dev)
                if interval.passed() or self.update == schedule.updates:
                    self.save()

    def _step(self, batches: TrainingBatches) -> float:
        torch.manual_seed(self.schedule.seed * 1_000_003 + self.update)
        rate = self.schedule.learning_rate * inverse_square_root(self.update, self.schedule.warmup_updates)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = batches.batch(self.update).to(self.device.torch)
        with self.device.autocast():
            loss = smoothed_loss(self.model, batch, self.schedule.label_smoothing)
        check_loss(value := float(loss.detach()), self.update, "pretraining")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        zero_padding_row(self.model)
        self.update += 1
        return value

    def _validate(self, dev: Any) -> None:
        measured = nll(self.model, dev, self.device, batch_tokens=self.schedule.batch_tokens, pad=self.pad)
        console.print(f"update {self.update}: dev {measured}")
        if measured.true < self.best_nll:
            self.best_nll = measured.true
            self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        if self.update >= self.schedule.updates and not measured.uses_source:
            console.print(
                "[bold red]This is no translation model: its sources make no difference to it.[/] "
                "Train longer, on more text, or with a higher learning rate."
            )


def pretrain(
    train: Path,
    output: Path,
    languages: Languages,
    begin: Shape | Path,
    schedule: Schedule,
    device: Device,
) -> None:
    """Train a model of a shape from scratch, or on from the Marian model in a folder, and write it to `output`.

    State lies in `.<output>.work` beside it until done.
    """
    corpus = read_corpus(train, languages)
    work = _work_folder(output)
    settings = {
        "data": digest(corpus.train),
        "begin": str(begin),
        "schedule": str(replace(schedule, updates=0)),
    }
    _claim(work, settings)
    model, tokenizer = _beginning(begin, corpus.train, languages, schedule.seed, work / "tokenizer")
    parts = []
    for part, pairs in (("train", corpus.train), ("dev", corpus.dev)):
        encoded = encode(tokenizer, pairs, languages, maximum_length=schedule.maximum_length)
        console.print(f"{part}: {len(encoded.examples)} pairs, {encoded.too_long} too long left out")
        parts.append(encoded.examples)
    run = Pretraining(model, tokenizer, device, schedule, work)
    run.resume()
    run.run(*parts)
    model.load_state_dict(run.best)
    finished = work / "finished"
    shutil.rmtree(finished, ignore_errors=True)
    with quiet():
        model.cpu().save_pretrained(finished)
        tokenizer.save_pretrained(finished)
    sync_tree(finished)
    finished.rename(output)
    sync_directory(output.parent)
    shutil.rmtree(work)
    console.print(f"saved {output} (best dev NLL {run.best_nll:.3f})")


def _beginning(
    begin: Shape | Path, pairs: tuple[Pair, ...], languages: Languages, seed: int, directory: Path
) -> tuple[Any, Any]:
    """The model and the tokenizer to begin with; a new tokenizer is kept in `directory`."""
    from transformers import MarianMTModel, MarianTokenizer

    if isinstance(begin, Path) and (family := family_of(begin)).model_type != "marian":
        raise FmallocError(f"{begin}: a {family.model_type} model; only Marian models can be trained on")
    with quiet():
        if isinstance(begin, Path):
            return MarianMTModel.from_pretrained(begin, dtype=torch.float32), MarianTokenizer.from_pretrained(begin)
        if not (directory / "tokenizer_config.json").is_file():
            train_tokenizer(pairs, languages, begin.vocabulary, directory)
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
        raise FmallocError(f"{output}: exists already; choose another --output or delete it")
    shutil.rmtree(_work_folder(output))
    console.print(f"{output} was finished already")


@click.command(cls=Command, context_settings={"show_default": True})
@click.option(
    "--train",
    type=click.Path(path_type=Path),
    required=True,
    help="Parallel text: a .tsv file, Moses pair or folder.",
)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder to write the model to.")
@click.option("--source", default="de", help="Source language.")
@click.option("--target", default="en", help="Target language.")
@click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path, exists=True),
    help="Train on from this Marian model instead of from scratch.",
)
@click.option("--vocab-size", default=8000, type=click.IntRange(16), help="SentencePiece pieces, shared by both sides.")
@click.option("--d-model", default=256, type=click.IntRange(8))
@click.option("--encoder-layers", default=6, type=click.IntRange(1))
@click.option("--decoder-layers", default=2, type=click.IntRange(1))
@click.option("--heads", default=4, type=click.IntRange(1))
@click.option("--ffn", default=1024, type=click.IntRange(1), help="Feed-forward width: memory cells a layer.")
@click.option("--updates", default=20000, type=click.IntRange(1))
@click.option("--batch-tokens", default=4096, type=click.IntRange(1), help="Padded tokens a batch, of the longer side.")
@click.option("--learning-rate", default=1e-3, type=click.FloatRange(0, min_open=True))
@click.option("--warmup-updates", default=1000, type=click.IntRange(1))
@click.option("--validate-every", default=500, type=click.IntRange(1))
@click.option(
    "--maximum-length",
    default=128,
    type=click.IntRange(2),
    help="Leave out pairs with more tokens on a side.",
)
@click.option("--label-smoothing", default=0.1, type=click.FloatRange(0, 1, max_open=True))
@click.option("--seed", default=1, type=click.IntRange(0))
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--precision", default="auto", type=click.Choice(["auto", "float32", "bfloat16"]))
def main(**options: Any) -> None:
    """Train a base translation model from parallel text.

    Runs until done; if killed, the same command goes on where it stopped. Example:

    \b
        fmalloc-pretrain --train corpora/general --output base-de-en
    """
    if options["output"].exists():
        _already_there(options["output"])
        return
    if options["d_model"] % options["heads"]:
        raise FmallocError(f"--d-model {options['d_model']} is no multiple of --heads {options['heads']}")
    shape = Shape(
        *(options[name] for name in ("vocab_size", "d_model", "encoder_layers", "decoder_layers", "heads", "ffn"))
    )
    schedule = Schedule(**{name: options[name] for name in Schedule.__dataclass_fields__})
    pretrain(
        options["train"],
        options["output"],
        Languages(options["source"], options["target"]),
        options["start"] or shape,
        schedule,
        select(options["device"], options["precision"]),
    )


if __name__ == "__main__":
    main()
