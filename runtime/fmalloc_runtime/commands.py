"""The verbs of those who serve and translate; they import what they need when they run, so that help comes at once."""

import sys
from pathlib import Path
from typing import Any, BinaryIO, cast

import click

from fmalloc_shared.commands.command import Command, echo
from fmalloc_shared.commands.flags import COUNT, PATH, flag
from fmalloc_shared.errors import FmallocError

_keys_file = click.option(
    "--file", "path", type=PATH, default=Path("keys.json"), help="File of keys, as `fmalloc serve --keys` reads it."
)


@click.command("translate", cls=Command)
@click.argument("source", type=click.Path(exists=True, allow_dash=True, path_type=Path), default="-")
@flag("--output", "-o", help="File or folder to write; without it, standard output, and lines or markup by --format.")
@flag("--bundles")
@click.option("--domain", default="auto", metavar="NAME", help="A domain, or auto: detected over each whole file.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "html", "xml"]),
    help="Without --output: text, the default, is one sentence per line; html and xml are read as a whole.",
)
@click.option(
    "--protect/--no-protect",
    default=True,
    help="Keep placeholders, addresses and unknown signs as they are, and numbers where the sentence stays likely.",
)
@click.option(
    "--needs-editing",
    is_flag=True,
    help="Without --output, for text: before each line the estimated probability that a translator would have to "
    "change it, and a tab.",
)
@click.option("--glossary", type=PATH, help="Terms and how to translate them: .tsv, .csv or .tbx.")
@click.option("--again", is_flag=True, help="With --output: also what has a translation already, unless it is final.")
@flag("--force")
@flag("--dry-run")
@flag("--beam-size", default=None, help="Width of the beam search; 1 is greedy.  [default: the bundle's own, or 4]")
@flag("--threads")
@flag("--device")
def translate(
    source: Path,
    output: Path | None,
    bundles: Path,
    domain: str,
    format_: Any,
    protect: bool,
    needs_editing: bool,
    glossary: Path | None,
    again: bool,
    force: bool,
    dry_run: bool,
    beam_size: int | None,
    threads: int,
    device: str,
) -> None:
    """Translate a file, a folder or standard input.

    With --output, SOURCE is a file in one of the formats that translators use (XLIFF, PO, TMX, SRT, WebVTT, HTML,
    Markdown, DOCX, text, JSON, strings of Android and Apple), or a folder of such files. Only what is to be translated
    changes: tags, notes, states and all else stay. After a stop, the same command goes on where it was; of a folder, a
    file that is done is translated again only if it changed.

    Without --output, SOURCE is UTF-8 text, one sentence per line, or standard input, and the translation goes to
    standard output. A line that is longer than the model can take is translated in parts. Lines for a named domain are
    translated 256 at a time; with auto, the whole input is read first.

    With --glossary, each term that is found, also inflected, is translated as the file says: a term and its translation
    a line in a .tsv or .csv, or the concepts of a .tbx.

    The domain and why it was chosen go to standard error. It needs a directory of bundles, as `fmalloc export` writes
    it.

    \b
    Example:
      fmalloc translate manual.xliff -o manual.en.xliff
      fmalloc translate --domain it docs -o docs.en --glossary terms.tsv
      fmalloc translate --bundles bundles --domain auto < in.txt > out.txt
      fmalloc translate --domain law --needs-editing < in.txt | sort -rn | head
      fmalloc translate --format html --domain it page.html > page.en.html
    """
    from fmalloc_runtime.engines.base import TranslationOptions
    from fmalloc_runtime.files.formats import is_known
    from fmalloc_runtime.files.run import Job, translate_path
    from fmalloc_runtime.glossaries.reading import read_glossary
    from fmalloc_runtime.live.registry import Registry
    from fmalloc_runtime.live.stream import translate_stream
    from fmalloc_runtime.live.translator import EngineSettings
    from fmalloc_runtime.routing.router import AUTO, Route
    from fmalloc_runtime.text.terms import Terms
    from fmalloc_runtime.text.translation import TextOptions

    def show(route: Route) -> None:
        scores = ", ".join(f"{name} {score:.2f}" for name, score in sorted(route.scores.items()))
        echo(f"domain {route.domain} ({route.reason}); {scores}; bundle {route.bundle}", err=True)

    stream = str(source) == "-"
    if output is not None and (stream or format_ is not None):
        raise FmallocError("--output: expected a file or folder to translate, whose format its name tells: no --format")
    if needs_editing and (output is not None or format_ in ("html", "xml")):
        raise FmallocError("--needs-editing: goes before lines of text: no --output, no --format html or xml")
    if output is None:
        if again or force or dry_run:
            raise FmallocError("--again, --force and --dry-run: expected --output, the file or folder to write")
        if source.is_dir() or (format_ is None and is_known(source.name) and source.suffix != ".txt"):
            raise FmallocError(f"{source}: expected --output, the {'folder' if source.is_dir() else 'file'} to write")
    wanted = None if domain == AUTO else (domain,)
    snapshot = Registry(bundles, EngineSettings(device, intra_threads=threads), preload=wanted).load()
    terms = Terms(read_glossary(glossary, snapshot.languages), *snapshot.languages) if glossary is not None else None
    search = TranslationOptions(beam_size)
    options = TextOptions(format=format_ or "text", protect=protect, terms=terms, search=search)
    if output is not None:
        translate_path(Job(snapshot, domain, options, again, force, dry_run), source, output)
        return
    with click.open_file(str(source), "rb") as file:
        stdout = sys.stdout.buffer
        translate_stream(snapshot, cast(BinaryIO, file), stdout, domain, options, show, needs_editing=needs_editing)


@click.command("add", cls=Command)
@click.argument("name")
@_keys_file
@click.option("--requests-per-minute", type=COUNT, help="Limit of this key, instead of the server's.")
@click.option("--characters-per-minute", type=COUNT, help="Limit of this key, instead of the server's.")
@click.option("--characters", type=COUNT, help="Most characters per month (UTC).")
def add_key(name: str, path: Path, **limits: int | None) -> None:
    """Make a key for the client NAME and print it.

    It is shown this once; the file keeps its digest only.

    \b
    Example:
      fmalloc keys add weblate --characters 5000000
    """
    from fmalloc_runtime.access.keys import add_key

    echo(add_key(path, name, limits))


@click.command("list", cls=Command)
@_keys_file
def list_keys(path: Path) -> None:
    """Show clients and their limits.

    \b
    Example:
      fmalloc keys list --file keys.json
    """
    from fmalloc_runtime.access.keys import KeyFile

    for entry in KeyFile.read(path).keys:
        limits = entry.model_dump(exclude={"name", "sha256"}, exclude_none=True)
        listed = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in limits.items())
        echo(f"{entry.name}  {listed or 'the limits of the server'}")


@click.command("remove", cls=Command)
@click.argument("name")
@_keys_file
def remove_key(name: str, path: Path) -> None:
    """Remove the key of the client NAME.

    \b
    Example:
      fmalloc keys remove weblate
    """
    from fmalloc_runtime.access.keys import remove_key

    remove_key(path, name)


@click.command("doctor", cls=Command)
@click.argument("bundles", type=PATH, default=Path("bundles"))
@flag("--json", "as_json")
def doctor(bundles: Path, as_json: bool) -> None:
    """Find out what keeps from serving or learning here.

    Looks at engines, CPU, memory, CUDA and the live bundles in BUNDLES, ./bundles by default, and measures whether a
    sentence is faster on one thread or on all; where PyTorch is installed, also at what learning needs: libraries, the
    device and its fastest precision, room, extras. Says what to do about each finding. Exits with 1 if it cannot serve,
    or cannot learn although PyTorch is there.

    \b
    Example:
      fmalloc doctor bundles
    """
    from fmalloc_runtime.diagnosis import bundles as live
    from fmalloc_runtime.diagnosis import engines, learning, machine, threads
    from fmalloc_runtime.diagnosis.doctor import examine, fit, show, to_json

    findings = examine([*machine.checks(), *engines.checks(), *live.checks(bundles), *threads.checks(bundles)])
    findings += examine(learning.checks(), "learn")
    if as_json:
        echo(to_json(findings))
    else:
        show(findings)
    if not fit(findings, "serve", "learn"):
        raise click.exceptions.Exit(1)


@click.command("replay", cls=Command)
@click.argument("log", type=PATH)
@flag("--bundles", default=None, help="Directory of live bundles, which logged text is routed with again.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Threshold on the posterior. Without it, that of --bundles, or 0.6.",
)
@flag("--json", "as_json")
def replay(log: Path, bundles: Path | None, threshold: float | None, as_json: bool) -> None:
    """Replay logged decisions with another threshold or bundles.

    LOG is what `fmalloc serve --decisions` writes. Where it holds text and --bundles are given, that is routed again;
    elsewhere the logged scores are decided on again. With a routing.json in the bundles' directory, the expected loss
    is shown too, taking the posteriors for true. Domains that were asked for stay as they were.

    \b
    Example:
      fmalloc routing replay decisions.jsonl --threshold 0.8
      fmalloc routing replay decisions.jsonl --bundles bundles
    """
    from fmalloc_runtime.routing.replay import evaluate

    evaluate(log, bundles, threshold, as_json=as_json)
