"""fmalloc-translate and fmalloc-serve: what they take and teach; what they do is imported when they run."""

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

import click

from fmalloc_runtime.settings import SECTIONS, Loaded, Settings, flag, metavar, shown
from fmalloc_shared.command import Command

_bundles = click.option(
    "--bundles",
    type=click.Path(path_type=Path),
    default=Path("bundles"),
    show_default=True,
    help="The directory with live.json.",
)


@click.command(cls=Command)
@click.argument("file", type=click.File("rb"), default="-")
@_bundles
@click.option("--domain", default="auto", show_default=True, help="A domain, or auto: detected over the whole input.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "html", "xml"]),
    default="text",
    show_default=True,
    help="text is one sentence a line; the others are read as a whole, and tags stay where they belong.",
)
@click.option(
    "--protect/--no-protect",
    default=True,
    show_default=True,
    help="Keep placeholders, URLs, e-mail addresses and numbers as they are.",
)
@click.option("--beam-size", type=click.IntRange(min=1), default=4, show_default=True)
@click.option(
    "--threads", type=click.IntRange(min=0), default=0, show_default=True, help="CPU threads (0: the engine's choice)."
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto takes a GPU if there is one.",
)
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
    """Translate FILE or standard input, one sentence a line, UTF-8.

    The domain and why it was chosen go to standard error. A line that is longer than the model can take is translated
    in parts. Lines for a named domain are translated 256 at a time; with auto, the whole input is read first.

    \b
    fmalloc-translate --bundles bundles --domain auto < in.txt > out.txt
    echo "Klicken Sie auf die Maus." | fmalloc-translate --domain it
    fmalloc-translate --format html --domain it page.html > page.en.html
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


class _ServeCommand(Command):
    """A flag for each setting, shown by what it is about."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.params.extend(_option(name) for names in SECTIONS.values() for name in names)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The settings in sections, then what else there is."""
        rest = {
            parameter.name: parameter for parameter in self.get_params(context) if isinstance(parameter, click.Option)
        }
        for title, names in [*SECTIONS.items(), ("Options", tuple(rest))]:
            found = [rest.pop(name).get_help_record(context) for name in names if name in rest]
            with formatter.section(title):
                formatter.write_dl([record for record in found if record])


def _option(name: str) -> click.Option:
    field = Settings.model_fields[name]
    default = shown(field.default)
    help_ = f"{field.description}{f'  [{default}]' if default else ''}"
    if field.annotation is bool:
        return click.Option([f"{flag(name)}/--no-{flag(name)[2:]}"], default=None, help=help_)
    return click.Option([flag(name)], metavar=metavar(name), help=help_)


@click.command(cls=_ServeCommand)
@click.argument("bundles", required=False)
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="A YAML or TOML file of settings.")
@click.option("--check", is_flag=True, help="Check settings, keys and bundles, show the settings, and do not serve.")
def serve(config: Path | None, check: bool, **given: Any) -> None:
    """Serve the bundles that BUNDLES/live.json names (default: ./bundles) over HTTP.

    \b
    fmalloc-serve bundles --port 5000
    curl localhost:5000/translate -H 'Content-Type: application/json' \\
         -d '{"q": "Guten Tag.", "source": "de", "target": "en", "domain": "auto"}'

    Every setting below is also a variable of the environment (FMALLOC_PORT=5000) and a key of the file that --config or
    FMALLOC_CONFIG names (port: 5000); a flag wins over a variable, a variable over the file. Bytes may be written 2GB
    or 64MiB, times 30s or 500ms, lists with commas.

    \b
    fmalloc-serve --check --config serve.yaml

    SIGTERM and SIGINT let requests finish for as long as --drain-seconds says; a second one ends the server at once.
    """
    loaded = Loaded.of({name: value for name, value in given.items() if value is not None}, config)
    if check:
        from fmalloc_runtime.server.checking import check_settings

        click.echo(check_settings(loaded))
        return
    from fmalloc_runtime.server.server import run

    status = run(loaded.settings)
    if status:
        # Threads may still be at work on what was cut off; nobody waits for it.
        sys.stderr.flush()
        os._exit(status)


@click.group()
def main() -> None:
    """Serve compiled domains."""


main.add_command(translate, "translate")
main.add_command(serve, "serve")

if __name__ == "__main__":
    main(prog_name="python -m fmalloc_runtime")
