"""The verbs that compile, prove and score models; they import what they need when they run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fmalloc_export.options import LEVELS, MAXIMUM_QUALITY_DROP, Options
from fmalloc_export.triton.options import ROUTER, TritonOptions
from fmalloc_shared.command import Command
from fmalloc_shared.flags import COUNT, PATH, flag
from fmalloc_shared.languages import LanguagePair

if TYPE_CHECKING:
    from fmalloc.model.devices import DeviceName
    from fmalloc_runtime.routing.costs import Metric


@click.command("export", cls=Command, extra="export", underscores=True)
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="A task to export, or general; repeat it.")
@click.option("--all", "everything", is_flag=True, help="Export general and every task.")
@flag("--store")
@flag("--output-dir", default=Path("bundles"), help="Directory of bundles to add to.")
@click.option(
    "-O",
    "level",
    type=click.Choice([level[1:] for level in LEVELS]),
    default="0",
    help="Optimisation level. 0 changes no translation. 1 cuts cells that never fire on the domain's text, and tokens "
    "that it never uses. 2 also compacts the remaining cells, as far as --max-quality-drop allows.",
)
@click.option(
    "--calibration",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Parallel text of the domain, for -O1 and -O2: some thousands of pairs, read as `fmalloc train` reads text. "
    "With several tasks, NAME= says which one it is for; repeat it.",
)
@click.option(
    "--keep", type=float, help="-O2: share of the cells to keep, instead of the smallest that is good enough."
)
@click.option(
    "--max-quality-drop",
    type=float,
    show_default=f"{MAXIMUM_QUALITY_DROP} at -O1 and -O2, none at -O0",
    help="Most that compiling may cost on held-out pairs of the domain, in BLEU and in chrF, quantization included; a "
    "model that loses more is not published.",
)
@click.option("--allow-quality-drop", is_flag=True, help="Publish also a model that loses more; its manifest says so.")
@click.option(
    "--vocabulary",
    type=int,
    help="-O1, -O2: most target tokens, the domain's most frequent; other words are spelled in smaller pieces.",
)
@click.option(
    "--engine", type=click.Choice(["ctranslate2", "onnx"]), default="ctranslate2", help="Engine to compile for."
)
@click.option(
    "--quantization",
    default="float32",
    metavar="TYPE",
    help="Type of the saved weights. float32 changes nothing; int8 takes a quarter of the bytes and is fastest on "
    "CPUs. ctranslate2 also has int8_float16, int16, float16, bfloat16 and others; onnx has float16.",
)
@flag("--force", help="Write a bundle again if the one that is there is damaged.")
@click.option("--no-live", is_flag=True, help="Leave live.json, which says what is served, as it is.")
@flag("--dry-run", help="Run the passes and show what they do, but write nothing.")
@click.option("--explain", is_flag=True, help="Say what each pass would do, without running it.")
def export(
    tasks: tuple[str, ...],
    everything: bool,
    store: Path,
    output_dir: Path,
    level: str,
    calibration: tuple[str, ...],
    keep: float | None,
    max_quality_drop: float | None,
    allow_quality_drop: bool,
    vocabulary: int | None,
    engine: str,
    quantization: str,
    force: bool,
    no_live: bool,
    dry_run: bool,
    explain: bool,
) -> None:
    """Compile learned domains into bundles.

    A bundle is a small model that `fmalloc serve` and `fmalloc translate` load: it holds only the memory cells that
    its domain uses. Before it appears, the emitted model is compared with the compiled one: the same tokens, greedy and
    with beam 4, and the same scores. On held-out pairs, BLEU and chrF are measured too; at -O1 and -O2 a model that
    loses more than --max-quality-drop does not appear. The same store and options give the same bytes, so exporting
    again changes nothing.

    It needs a memory store, and parallel text of the domain for -O1 and -O2.

    \b
    Example:
      fmalloc export --all --store store --output-dir bundles
      fmalloc export --task it -O2 --quantization int8 --calibration corpora/it
    """
    if everything == bool(tasks):
        raise click.UsageError("give one --task or more, or --all")
    options = Options(engine, quantization, LEVELS[int(level)], keep, max_quality_drop, allow_quality_drop, vocabulary)
    from fmalloc_export.export import Exporter

    exporter = Exporter.of(store, tasks, options, calibration)
    if explain or dry_run:
        exporter.plan(explain=explain)
    else:
        exporter.export(output_dir, force=force, live=not no_live)


@click.command("bundles", cls=Command)
@click.argument("bundles", type=PATH, default=Path("bundles"))
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--pack", "action", flag_value="pack", help="Store model files as differences from one that all share.")
@click.option("--unpack", "action", flag_value="unpack", help="Store model files as their engine's tools load them.")
@click.option(
    "--prune", "action", flag_value="prune", help="Delete bundles that are not live, and unused shared files."
)
@click.option("--yes", is_flag=True, help="Do not ask before --prune deletes.")
@flag("--json", "as_json", help="Print JSON, for programs; sizes in bytes.")
def bundles(bundles: Path, names: tuple[str, ...], action: str | None, yes: bool, as_json: bool) -> None:
    """Show, pack, unpack and prune bundles.

    BUNDLES is a directory of bundles, ./bundles by default. NAME is a domain or a bundle to pack or unpack; without
    any, all are. A packed bundle serves as a plain one does, and keeps its name.

    \b
    Example:
      fmalloc bundles bundles
      fmalloc bundles bundles --pack
      fmalloc bundles bundles it --unpack
    """
    from fmalloc_export.bundles.manage import manage, show

    if action is not None:
        manage(bundles, action, names, ask=not yes)
    elif names:
        raise click.UsageError("names go with --pack or --unpack")
    show(bundles, as_json)


@click.command("triton", cls=Command)
@click.argument("bundles", type=PATH, default=Path("bundles"))
@flag("--output-dir", default=Path("triton"), help="Model repository to write.")
@flag("--force", help="Bring a model repository that is there up to date.")
@flag("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where Triton computes.")
@click.option("--instances", type=COUNT, default=1, help="Processes per domain; on GPUs, per domain and GPU.")
@flag("--threads", type=COUNT, default=1, help="CPU threads per process.")
@click.option("--batch-texts", type=COUNT, default=256, help="Most texts per batch, and so per request.")
@click.option(
    "--queue-seconds", type=click.FloatRange(0, 60), default=0.003, help="Maximum batching delay, in seconds."
)
@click.option(
    "--queue-requests", type=COUNT, default=1024, help="Most requests that wait for a model; others are refused."
)
@click.option("--router", default=ROUTER, metavar="NAME", help="Name of the model that routes.")
def triton(
    bundles: Path,
    output_dir: Path,
    force: bool,
    device: Literal["cpu", "cuda"],
    instances: int,
    threads: int,
    batch_texts: int,
    queue_seconds: float,
    queue_requests: int,
    router: str,
) -> None:
    """Lay out live bundles for NVIDIA Triton.

    Every domain that BUNDLES/live.json names becomes a model with its bundle inside; one more model routes between
    them. With --force, a model that changed gets the next version. BUNDLES is ./bundles by default.

    It needs a directory of bundles, and fmalloc installed where Triton runs.

    \b
    Example:
      fmalloc triton bundles --output-dir repository
      tritonserver --model-repository=repository
    """
    from fmalloc_export.triton.repository import write_triton_repository

    options = TritonOptions(device, instances, threads, batch_texts, queue_seconds, queue_requests, router)
    for model, version in write_triton_repository(bundles, output_dir, options, force=force).items():
        click.echo(f"{output_dir / model}: version {version}")


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
    from fmalloc_export.evaluation.command import evaluate

    languages = LanguagePair(source, target) if source and target else None
    evaluate(model, tasks, tests, beam_size, sentences, against, output, translations, device, languages)


@click.command("verify", cls=Command, extra="export")
@click.argument("paths", metavar="PATH...", type=PATH, nargs=-1, required=True)
@flag("--store", default=None, help="Compile the bundles again from this memory store, and compare every byte.")
@click.option(
    "--calibration",
    type=PATH,
    multiple=True,
    help="Text that bundles at -O1 and -O2 were calibrated with; its digest tells which one it is for; repeat it.",
)
def verify(paths: tuple[Path, ...], store: Path | None, calibration: tuple[Path, ...]) -> None:
    """Check bundles: digests, translations, origin.

    PATH is a bundle or a directory of bundles. Every file must have its digest, and the engine must give the golden
    translations. With --store, the domain is compiled again with the bundle's options, which checks its parity with
    the learned model, and must give the same bytes.

    \b
    Example:
      fmalloc verify bundles
      fmalloc verify bundles/it@0123456789ab --store store
    """
    from fmalloc_export.verify import verify_all

    verify_all(paths, store, calibration)


@click.command("costs", cls=Command, extra="export")
@click.argument("bundles", type=PATH, default=Path("bundles"))
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="NAME=PATH",
    help="Text of a live domain: a folder with dev, or what `fmalloc train` draws dev from; repeat it.",
)
@flag("--sentences", default=200, help="Sentences per text that are translated, evenly spaced.")
@flag("--beam-size")
@click.option("--metric", type=click.Choice(["bleu", "chrf"]), default="chrf", help="Metric that a loss is counted in.")
@flag("--device")
@flag("--threads")
@flag("--dry-run")
def costs(
    bundles: Path,
    texts: Sequence[str],
    sentences: int,
    beam_size: int,
    metric: "Metric",
    device: str,
    threads: int,
    dry_run: bool,
) -> None:
    """Measure what a wrong domain costs and set the threshold.

    The model of every live domain translates every domain's dev text. What text of one domain loses with the model of
    another, and how often the router takes one for the other, give the threshold on its posterior that loses least.
    Both go to BUNDLES/routing.json, which the server reads. What is known already is not translated again.

    It needs live bundles, ./bundles by default, and text of every live domain.

    \b
    Example:
      fmalloc routing costs bundles --text general=corpora/general --text it=corpora/it
    """
    from fmalloc_export.routing.command import measure_costs

    measure_costs(bundles, _named(texts), sentences, beam_size, metric, device, threads, dry_run=dry_run)


def _named(texts: Sequence[str]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for given in texts:
        name, equals, path = given.partition("=")
        if not (name and equals and path):
            raise click.UsageError(f"--text {given}: expected NAME=PATH, the domain and its text")
        if name in paths:
            raise click.UsageError(f"--text {name}=…: given twice")
        paths[name] = Path(path)
    return paths
