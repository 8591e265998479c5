"""A click command whose errors are messages: exit code 2 for what the user can mend, 130 for Ctrl-C."""

import errno
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click

from fmalloc_shared.errors import FmallocError


class UserError(click.ClickException):
    """Printed as `Error: …`; the process exits with 2."""

    exit_code = 2


class Command(click.Command):
    """Turns FmallocError and failed file operations into a message and exit code 2."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except FmallocError as error:
            raise UserError(str(error)) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise UserError(f"disk full: {error}; nothing half-written was kept, run again with room") from error
            raise UserError(str(error)) from error
        except KeyboardInterrupt:
            click.echo("interrupted: what was finished is kept; run the same command again to go on", err=True)
            raise click.exceptions.Exit(130) from None


def launch(module: str, *, extra: str) -> None:
    """Run `main` of a module; where a library is missing, name the extra that brings it and exit with 2."""
    try:
        main = import_module(module).main
    except ModuleNotFoundError as error:
        click.echo(f"Error: {error.name} is not installed: pip install 'fmalloc[{extra}]'", err=True)
        sys.exit(2)
    main()


def needs(*modules: str, extra: str) -> None:
    """Raise FmallocError, which names the extra that brings it, if a module is not installed."""
    for module in modules:
        if find_spec(module) is None:
            raise FmallocError(f"{module} is not installed: pip install 'fmalloc[{extra}]'")
