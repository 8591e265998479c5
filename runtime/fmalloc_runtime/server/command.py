"""The verb `serve`, with a flag for every setting."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from fmalloc_runtime.settings import SECTIONS, Loaded, Settings, flag, metavar, shown
from fmalloc_shared.commands.command import Command, echo
from fmalloc_shared.commands.flags import PATH


class _ServeCommand(Command):
    """A flag for each setting, shown by what it is about."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
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
    field, default = Settings.model_fields[name], shown(Settings.model_fields[name].default)
    if field.annotation is bool:
        word = flag(name)[2:]
        help_ = f"{field.description}  [default: {word if field.default else f'no-{word}'}]"
        return click.Option([f"--{word}/--no-{word}"], default=None, help=help_)
    help_ = f"{field.description}{f'  [default: {default}]' if default else ''}"
    return click.Option([flag(name)], metavar=metavar(name), help=help_)


@click.command("serve", cls=_ServeCommand)
@click.argument("bundles", required=False)
@click.option("--config", type=PATH, help="YAML or TOML file of settings.")
@click.option("--check", is_flag=True, help="Check settings, keys and bundles, show the settings, and stop.")
def serve(config: Path | None, check: bool, **given: Any) -> None:
    """Serve live bundles over HTTP.

    Text finds the model of its domain by itself, or names it. Clients of LibreTranslate, DeepL and the Open Inference
    Protocol work as they are; there is a page at / and documentation at /docs. New bundles are taken over without a
    restart. SIGTERM and SIGINT let requests finish for as long as --drain-seconds says; a second one ends at once.

    It needs a directory of bundles, as `fmalloc export` writes it: BUNDLES, ./bundles by default.

    Every setting below is also a variable of the environment (FMALLOC_PORT=5000) and a key of the file that --config or
    FMALLOC_CONFIG names (port: 5000). A flag wins over a variable, a variable over the file. Sizes may be written 2GB
    or 64MiB, times 30s or 500ms, lists with commas.

    \b
    Example:
      fmalloc serve bundles --port 5000
      fmalloc serve --check --config serve.yaml
      curl localhost:5000/translate -H 'Content-Type: application/json' \\
           -d '{"q": "Guten Tag.", "source": "de", "target": "en", "domain": "auto"}'
    """
    loaded = Loaded.of({name: value for name, value in given.items() if value is not None}, config)
    if check:
        from fmalloc_runtime.server.checking import check_settings

        echo(check_settings(loaded))
        return
    from fmalloc_runtime.server.server import run

    status = run(loaded.settings)
    if status:
        # Threads may still be at work on what was cut off; nobody waits for it.
        sys.stderr.flush()
        os._exit(status)
