"""`fmalloc bench`: its options."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.flags import PATH, flag

if TYPE_CHECKING:
    from fmalloc_export.bench.bench import Purpose


@click.command("bench", cls=Command, extra="export")
@click.argument("models", metavar="MODEL...", type=PATH, nargs=-1, required=True)
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="A domain of directories of bundles; repeat it.")
@click.option("--sources", type=PATH, help="Text to translate, one sentence per line.")
@click.option("--test", metavar="PATH", help="Parallel text to translate, to be scored as well; a file or a folder.")
@flag("--sentences", default=100, show_default=True, help="Only the first N sentences of the text.")
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["latency", "throughput"]),
    help="Only sentences one at a time, or only in batches; without it, both.",
)
@click.option("--batch", default=32, type=click.IntRange(1, 4096), metavar="N", help="Sentences per batch.")
@flag("--beam-size", default=None, help="Width of the beam search; 1 is greedy.  [default: a bundle's own, or 4]")
@flag(
    "--threads",
    multiple=True,
    default=(),
    help="CPU threads; repeat it; without it, 1 and all; 0 is the engine's choice.",
)
@flag("--device", default="cpu")
@click.option(
    "--quantization",
    default="int8",
    metavar="TYPE",
    help="A model of transformers is also measured as CTranslate2 converts it, in this type; none: it is not.",
)
@click.option(
    "--tokenizer", type=PATH, help="A bundle, or a model of transformers, whose tokens a CTranslate2 model has."
)
@click.option(
    "--spread",
    default=0.03,
    type=click.FloatRange(0.001, 1),
    help="Stop when mean times are known so well: half of the 95 % interval, relative.",
)
@click.option("--minutes", default=5.0, type=click.FloatRange(min=0), help="Stop then, at the latest.")
@flag("--output", help="File to write all figures to, as JSON.")
@flag("--json", "as_json")
@flag("--dry-run")
def bench(
    models: tuple[Path, ...],
    tasks: tuple[str, ...],
    sources: Path | None,
    test: str | None,
    sentences: int,
    purpose: "Purpose | None",
    batch: int,
    beam_size: int | None,
    threads: tuple[int, ...],
    device: "Literal['auto', 'cpu', 'cuda']",
    quantization: str,
    tokenizer: Path | None,
    spread: float,
    minutes: float,
    output: Path | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Measure how fast models are on this machine.

    MODEL is a directory of bundles, a bundle, a model as transformers saves it, or one of CTranslate2. Each runs in a
    process of its own, and all translate the same text in turn, round after round, until chance has little left to
    say. Shown are milliseconds per sentence (one at a time) and source words per second (one at a time, and in
    batches), from text to text; target tokens per second in batches, tokenisation excluded; loading, memory and disk;
    with --test, BLEU and chrF. The first model is what the others are compared with.

    It needs text, unless a bundle has golden translations, whose sources are taken then.

    \b
    Example:
      fmalloc bench bundles
      fmalloc bench base-de-en bundles/it@0123456789ab --test corpora/it --for latency --threads 1
    """
    if sources is not None and test is not None:
        raise click.UsageError("give --sources or --test")
    from fmalloc_export.bench.bench import Settings, run

    settings = Settings(
        purpose,
        threads,
        beam_size,
        batch,
        sentences,
        device,
        None if quantization == "none" else quantization,
        spread,
        minutes,
    )
    run(models, tasks, tokenizer, sources, test, settings, output, dry_run=dry_run, as_json=as_json)
