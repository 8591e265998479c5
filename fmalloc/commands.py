"""The verbs that learn or look at a store; they import what they need when they run, so that help comes at once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fmalloc.methods import METHODS
from fmalloc_shared.commands.command import Command, echo
from fmalloc_shared.commands.flags import COUNT, PATH, flag
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import check_name

# Keys of the recipe that flags of another name set.
_RECIPE_KEYS = {"source": "languages.source", "target": "languages.target"}


@click.command("train", cls=Command, extra="train")
@click.argument("recipe", type=PATH, required=False)
@click.option("--base", type=PATH, help="Folder of the pretrained model, as transformers saves it.")
@click.option("--general", type=PATH, help="Parallel text of the general domain.")
@click.option("--task", "tasks", multiple=True, metavar="NAME=PATH", help="A task and its parallel text; repeat it.")
@flag("--source", help="Source language, such as de.  [default: as the base's tokenizer says]")
@flag("--target", help="Target language, such as en or fra.  [default: as the base's tokenizer says]")
@flag("--store", default=None, help="Memory store to make or to go on with.  [default: store]")
@flag("--device", default=None, help="Where to compute; auto takes a GPU if there is one.  [default: auto]")
@flag("--updates", help="Most updates per task (learning.updates).  [default: four passes over its text]")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Most minutes of learning per task (learning.minutes), validations included.",
)
@click.option("--parallel", type=COUNT, help="Learn so many tasks at once, each with an equal share of the free cells.")
@click.option("--finish", is_flag=True, help="Learn no further: commit the interrupted task at its best state so far.")
@click.option("--measure-again", is_flag=True, help="Measure also the scores that an earlier row proves by hash.")
@flag("--dry-run")
def train(
    recipe: Path | None,
    tasks: tuple[str, ...],
    updates: int | None,
    minutes: float | None,
    parallel: int | None,
    finish: bool,
    measure_again: bool,
    dry_run: bool,
    **given: Any,
) -> None:
    """Learn domains one after another into a memory store.

    Pruning frees the feed-forward cells that general translation needs least. Each task claims some of them, in the
    order given; what is claimed is never written again, so nothing is forgotten. Learned tasks stay as they are: add
    one to the recipe and run again. A run that was killed, or stopped by Ctrl-C, goes on with the same command.

    After each task all test sets are scored. Where model, text and search are the same by hash as in an earlier row of
    the matrix, its score is carried over and marked as proven.

    With --parallel, tasks are learned at the same time, one process each, on as many GPUs as there are or on the CPU.
    The free cells are shared out among them, so that how many run at once changes no byte of what they become. They
    cannot read each other's cells (learning.reads: general).

    It needs a base model, general text and text per task: a .tsv or .tmx file, a pair of files named without .de and
    .en, or a folder with train, dev and test. RECIPE is a YAML file with all settings; flags override it.

    \b
    Example:
      fmalloc train recipe.yaml
      fmalloc train --base opus-mt-de-en --general news.tsv --task it=corpora/it --task law=corpora/law
      fmalloc train recipe.yaml --parallel 4
      torchrun --nproc-per-node 2 -m fmalloc train recipe.yaml     # two GPUs share every batch
    """
    overrides = {key: str(value) for key, value in given.items() if value is not None}
    learned = [_task(value) for value in tasks]
    if parallel and finish:
        raise click.UsageError("--finish commits one task, so not with --parallel")
    if recipe is None and not tasks:
        raise click.UsageError("give a RECIPE, or --base, --general and at least one --task NAME=PATH")
    from fmalloc.train import train

    changes: dict[str, Any] = {_RECIPE_KEYS.get(key, key): value for key, value in overrides.items()}
    if learned:
        changes["tasks"] = learned
    if updates:
        changes["learning.updates"] = updates
    if minutes:
        changes["learning.minutes"] = minutes
    train(recipe, changes, finish=finish, measure_again=measure_again, parallel=parallel, dry_run=dry_run)


def _task(value: str) -> dict[str, str]:
    name, separator, path = value.partition("=")
    if not separator or not path:
        raise click.UsageError(f"--task {value}: expected NAME=PATH, such as --task it=corpora/it")
    return {"name": check_name(name), "data": path}


@click.command("pretrain", cls=Command, extra="train")
@click.option(
    "--train",
    "texts",
    multiple=True,
    required=True,
    metavar="PATH[=WEIGHT]",
    help="Parallel text to learn from; repeat it to mix several, by weight or, without weights, by size.",
)
@flag("--output-dir", required=True, help="Folder to write the model to; must not exist.")
@flag("--source", default="de")
@flag("--target", default="en")
@click.option("--from", "start", type=PATH, help="Marian model to go on from, instead of a random one.")
@click.option("--vocab-size", default=8000, type=click.IntRange(16), help="SentencePiece pieces, shared by both sides.")
@click.option("--d-model", default=256, type=click.IntRange(8), help="Width of embeddings and attention.")
@click.option("--encoder-layers", default=6, type=COUNT, help="Layers of the encoder.")
@click.option("--decoder-layers", default=2, type=COUNT, help="Layers of the decoder; few make translation fast.")
@click.option("--heads", default=4, type=COUNT, help="Attention heads per layer.")
@click.option("--ffn", default=1024, type=COUNT, help="Feed-forward width: memory cells per layer.")
@click.option("--dropout", default=0.1, type=click.FloatRange(0, 1, max_open=True), help="Dropout of a new model.")
@click.option("--updates", type=COUNT, help="Updates.  [default: 20000, or with --minutes as many as fit]")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Most minutes of updates and validations, the cool-down included; reading text is not counted.",
)
@click.option(
    "--cooldown",
    default=0.2,
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of the updates, at the end, in which the learning rate falls to 0.",
)
@click.option("--batch-tokens", default=4096, type=COUNT, help="Padded tokens per batch, of the longer side.")
@click.option(
    "--learning-rate",
    default=1e-3,
    type=click.FloatRange(0, min_open=True),
    help="Learning rate at its peak, after the warm-up.",
)
@click.option("--warmup-updates", default=1000, type=COUNT, help="Updates until the learning rate is at its peak.")
@click.option("--validate-every", default=500, type=COUNT, help="Updates between validations.")
@click.option(
    "--validation-sentences", default=100, type=click.IntRange(0), help="Dev sentences translated for BLEU; 0: none."
)
@click.option(
    "--average", default=5, type=click.IntRange(0), help="Validations whose states are averaged at the end; 0: none."
)
@click.option(
    "--maximum-length", default=128, type=click.IntRange(2), help="Most tokens per side; longer pairs are left out."
)
@click.option(
    "--label-smoothing", default=0.1, type=click.FloatRange(0, 1, max_open=True), help="Label smoothing of the loss."
)
@click.option("--seed", default=1, type=click.IntRange(0, 2**32 - 1), help="Seed of parameters and batches.")
@flag("--device")
@click.option(
    "--precision",
    default="auto",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="Precision of matrix products; auto is bfloat16 on GPUs and on CPUs that are faster so, else float32.",
)
@flag("--dry-run")
def pretrain(**options: Any) -> None:
    """Train a base translation model from parallel text.

    For languages or budgets without a pretrained model. The result is a Marian model as transformers saves it, which
    `fmalloc train --base` takes. The state with the best NLL on dev is kept, or the average of the last ones if that is
    better. A run that was killed, or stopped by Ctrl-C, goes on with the same command.

    It needs parallel text: a .tsv or .tmx file, a pair of files named without .de and .en, or a folder with train, dev
    and test.

    \b
    Example:
      fmalloc pretrain --train corpora/general --output-dir base-de-en
      fmalloc pretrain --train news.tsv=3 --train web.tsv=1 --minutes 60 --output-dir base-de-en
    """
    if options["d_model"] % options["heads"]:
        raise click.UsageError(f"--d-model {options['d_model']}: not a multiple of --heads {options['heads']}")
    from fmalloc.model.architectures import family_of
    from fmalloc.model.base import CONFIG, configuration
    from fmalloc.model.devices import select
    from fmalloc.model.scratch import Shape
    from fmalloc.pretraining.pretrain import pretrain
    from fmalloc.pretraining.texts import Text
    from fmalloc.pretraining.trainable import PretrainingSettings
    from fmalloc.training.schedule import ENDLESS, Schedule

    def settings(kind: Any, **more: Any) -> Any:
        return kind(**{name: options[name] for name in kind.__dataclass_fields__ if name in options}, **more)

    start, width = options["start"], options["d_model"]
    if start:
        family_of(start)  # to see that it is a model
        width = configuration(start / CONFIG).get("d_model")
    shape = ("vocab_size", "d_model", "encoder_layers", "decoder_layers", "heads", "ffn", "dropout")
    if options["updates"] is None:
        options["updates"] = ENDLESS if options["minutes"] else 20000
    pretrain(
        [Text.of(text) for text in options["texts"]],
        options["output_dir"],
        LanguagePair(options["source"], options["target"]),
        start or Shape(*(options[name] for name in shape)),
        settings(PretrainingSettings, schedule=settings(Schedule)),
        select(options["device"], options["precision"], width=width),
        dry_run=options["dry_run"],
    )


@click.command("compare", cls=Command, extra="compare")
@click.argument("recipe", type=PATH)
@click.option("--methods", default="all", help=f"Methods, comma-separated: {', '.join(METHODS)}.")
@click.option("--order", "orders", multiple=True, metavar="A,B,…", help="An order of the tasks; repeat it for more.")
@flag("--output-dir", default=Path("comparison"), help="Folder of results, which later runs add to.")
@flag("--updates", help="Most updates per task (learning.updates of the recipe).")
@flag("--dry-run")
def compare(
    recipe: Path, methods: str, orders: Sequence[str], output_dir: Path, updates: int | None, dry_run: bool
) -> None:
    """Learn a recipe's tasks by several methods and compare them.

    All methods get the same data, budget and test sets. The result is one table, and comparison.json in the output
    directory, which `fmalloc report --comparison` shows. A run that was stopped goes on with the same command, and
    methods can be added later.

    It needs RECIPE, the YAML file that `fmalloc train` takes.

    \b
    Example:
      fmalloc compare recipe.yaml --methods single,sequential,ewc,fmalloc --order it,law --order law,it
    """

    from fmalloc.methods.comparison.compare import plan_of
    from fmalloc.methods.comparison.table import comparison_table
    from fmalloc_shared.commands.terminal import Terminal

    plan = plan_of(recipe, methods, orders, output_dir, updates, dry_run=dry_run)
    if dry_run:
        plan.show()
    else:
        Terminal(markup=False).print(comparison_table(plan.compare()))


@click.command("status", cls=Command)
@click.argument("store", type=PATH, default=Path("store"))
@click.option("--verify", is_flag=True, help="Read and check the whole store, as fmalloc verify does.")
@flag("--json", "as_json")
def status(store: Path, verify: bool, as_json: bool) -> None:
    """Show a store's tasks, memory and scores.

    Prints the tasks, the cells per layer and owner, who reads them, bytes, how many more domains fit, the score matrix
    with its forgetting and transfer, and the head: one digest of the whole store, to write down and to compare. STORE
    is a memory store, ./store by default.

    \b
    Example:
      fmalloc status store
      fmalloc status store --json | jq .ledger
    """
    from fmalloc.report.status import findings, print_status, status_of
    from fmalloc.store.store import Store

    opened = Store.open(store)
    for line in findings(opened) if verify else ():
        echo(f"{store}: {line}", err=as_json)
    if as_json:
        echo(json.dumps(status_of(opened), indent=1, sort_keys=True, ensure_ascii=False))
    else:
        print_status(opened)


@click.command("report", cls=Command)
@click.argument("store", type=PATH, default=Path("store"))
@click.option("--comparison", type=PATH, help="A comparison.json of `fmalloc compare`, to show as well.")
@flag("--output", default=Path("report.html"), help="Page to write.")
def report(store: Path, comparison: Path | None, output: Path) -> None:
    """Write an HTML report on a store.

    One page shows memory, scores, learning curves, a forecast of the free capacity, and settings. It loads nothing
    from elsewhere, and the same store gives the same bytes. STORE is a memory store, ./store by default.

    \b
    Example:
      fmalloc report store --output report.html
    """
    from fmalloc.report.page import write_report

    write_report(store, output, comparison)
