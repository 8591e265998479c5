"""The verbs of those who serve and translate; they import what they need when they run, so that help comes at once."""

import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from fmalloc_shared.command import Command
from fmalloc_shared.flags import COUNT, PATH, flag

_keys_file = click.option(
    "--file", "path", type=PATH, default=Path("keys.json"), help="File of keys, as `fmalloc serve --keys` reads it."
)


@click.command("translate", cls=Command)
@click.argument("file", type=click.File("rb"), default="-")
@flag("--bundles")
@click.option("--domain", default="auto", metavar="NAME", help="A domain, or auto: detected over the whole input.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "html", "xml"]),
    default="text",
    help="text is one sentence per line; html and xml are read as a whole, and tags stay where they belong.",
)
@click.option(
    "--protect/--no-protect",
    default=True,
    help="Keep placeholders, addresses, numbers and unknown signs as they are.",
)
@flag("--beam-size")
@flag("--threads")
@flag("--device")
def translate(
    file: BinaryIO,
    bundles: Path,
    domain: str,
    format_: Any,
    protect: bool,
    beam_size: int,
    threads: int,
    device: str,
) -> None:
    """Translate a file or standard input.

    FILE is UTF-8 text, one sentence per line; without it, standard input is read. The translation goes to standard
    output, the domain and why it was chosen to standard error. A line that is longer than the model can take is
    translated in parts. Lines for a named domain are translated 256 at a time; with auto, the whole input is read
    first.

    It needs a directory of bundles, as `fmalloc export` writes it.

    \b
    Example:
      fmalloc translate --bundles bundles --domain auto < in.txt > out.txt
      echo "Klicken Sie auf die Maus." | fmalloc translate --domain it
      fmalloc translate --format html --domain it page.html > page.en.html
    """
    from fmalloc_runtime.engines.base import TranslationOptions
    from fmalloc_runtime.live.registry import Registry
    from fmalloc_runtime.live.stream import translate_stream
    from fmalloc_runtime.live.translator import EngineSettings
    from fmalloc_runtime.routing.router import AUTO, Route
    from fmalloc_runtime.text.translation import TextOptions

    def show(route: Route) -> None:
        scores = ", ".join(f"{name} {score:.2f}" for name, score in sorted(route.scores.items()))
        click.echo(f"domain {route.domain} ({route.reason}); {scores}; bundle {route.bundle}", err=True)

    wanted = None if domain == AUTO else (domain,)
    snapshot = Registry(bundles, EngineSettings(device, intra_threads=threads), preload=wanted).load()
    options = TextOptions(format=format_, protect=protect, search=TranslationOptions(beam_size))
    translate_stream(snapshot, file, sys.stdout.buffer, domain, options, show)


@click.group("keys")
def keys() -> None:
    """Manage API keys: add, list, remove.

    With a file of keys, `fmalloc serve --keys` answers only clients that send one of them. A running server takes a
    changed file over within a second.

    \b
    Example:
      fmalloc keys add weblate --file keys.json --characters 5000000
      fmalloc serve bundles --keys keys.json
    """


@keys.command("add", cls=Command)
@click.argument("name")
@_keys_file
@click.option("--requests-per-minute", type=COUNT, help="Limit of this key, instead of the server's.")
@click.option("--characters-per-minute", type=COUNT, help="Limit of this key, instead of the server's.")
@click.option("--characters", type=COUNT, help="Most characters per month (UTC).")
def add(name: str, path: Path, **limits: int | None) -> None:
    """Make a key for the client NAME and print it.

    It is shown this once; the file keeps its digest only.

    \b
    Example:
      fmalloc keys add weblate --characters 5000000
    """
    from fmalloc_runtime.access.keys import add_key

    click.echo(add_key(path, name, limits))


@keys.command("list", cls=Command)
@_keys_file
def list_(path: Path) -> None:
    """Show clients and their limits.

    \b
    Example:
      fmalloc keys list --file keys.json
    """
    from fmalloc_runtime.access.keys import KeyFile

    for entry in KeyFile.read(path).keys:
        limits = entry.model_dump(exclude={"name", "sha256"}, exclude_none=True)
        listed = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in limits.items())
        click.echo(f"{entry.name}  {listed or 'the limits of the server'}")


@keys.command("remove", cls=Command)
@click.argument("name")
@_keys_file
def remove(name: str, path: Path) -> None:
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
    """Find out what keeps this installation from serving.

    Looks at engines, CPU, memory, CUDA and the live bundles in BUNDLES, ./bundles by default, and says what to do
    about each finding. Exits with 1 if it cannot serve.

    \b
    Example:
      fmalloc doctor bundles
    """
    from fmalloc_runtime.diagnosis import bundles as live
    from fmalloc_runtime.diagnosis import engines, machine
    from fmalloc_runtime.diagnosis.doctor import examine, serves, show, to_json

    findings = examine([*machine.checks(), *engines.checks(), *live.checks(bundles)])
    if as_json:
        click.echo(to_json(findings))
    else:
        show(findings)
    if not serves(findings):
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
