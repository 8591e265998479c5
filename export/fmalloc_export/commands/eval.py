"""`fmalloc eval`: its options."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.flags import PATH, flag
from fmalloc_shared.languages import LanguagePair

if TYPE_CHECKING:
    from fmalloc.model.devices import DeviceName


@click.command("eval", cls=Command, extra="export")
@click.argument("model", type=PATH)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME",
    help="A task of a store or a domain of bundles; base is a store's untouched base; repeat it. Without it, all.",
)
@click.option(
    "--test",
    "tests",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Parallel text: a file, or the test part of a folder; repeat it. Without it, a store's dev samples.",
)
@flag("--beam-size")
@flag("--sentences", help="Only the first N sentences of each test set.")
@click.option("--against", metavar="NAME|FILE|FOLDER", help="Compare with one of the models, results, or other models.")
@flag("--output", help="Results to write, as JSON; what it holds already is not translated again.")
@click.option("--translations", type=PATH, help="Folder to write translations to, as MODEL/TEST.txt.")
@flag("--device")
@flag("--source", help="Source language, where a model's tokenizer does not tell.")
@flag("--target", help="Target language, where a model's tokenizer does not tell.")
@flag("--dry-run")
def evaluate(
    model: Path,
    tasks: tuple[str, ...],
    tests: tuple[str, ...],
    beam_size: int,
    sentences: int | None,
    against: str | None,
    output: Path | None,
    translations: Path | None,
    device: "DeviceName",
    source: str | None,
    target: str | None,
    dry_run: bool,
) -> None:
    """Score models on test sets and compare them.

    MODEL is a memory store, a directory of bundles, one bundle, or a model as transformers saves it. Every model in it
    translates every test set; shown are BLEU and chrF with 95 % intervals, and the NLL. Stores and transformers' models
    are searched with PyTorch; bundles as the server runs them, one sentence per line, with nothing protected.
    --against tests by paired bootstrap whether scores differ. With --output, a run that was stopped goes on.

    It needs test sets, unless the store keeps samples of its own.

    \b
    Example:
      fmalloc eval store --test it=corpora/it --test law=corpora/law --output results.json
      fmalloc eval store --task it --task general --test corpora/it --against general
      fmalloc eval bundles --test corpora/it --against results.json
    """
    if (source is None) != (target is None):
        raise click.UsageError("--source and --target go together")
    from fmalloc_export.evaluation.evaluate import evaluate_models

    languages = LanguagePair(source, target) if source and target else None
    evaluate_models(
        model,
        tasks,
        tests,
        beam_size,
        sentences,
        against,
        output,
        translations,
        device,
        languages,
        dry_run=dry_run,
    )
