"""Click commands whose errors are messages: exit code 2 for what the user can mend, 130 for Ctrl-C."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click

from fmalloc_shared.environment import as_written
from fmalloc_shared.errors import FmallocError, printable

_SETTINGS = {"show_default": True, "max_content_width": 100}


class UserError(click.ClickException):
    """Printed as `Error: …`; the process exits with 2."""

    exit_code = 2

    def format_message(self) -> str:
        """The message, printable."""
        return printable(self.message)


def echo(text: object, *, err: bool = False) -> None:
    """Print a line, what is unprintable in it escaped."""
    click.echo(printable(str(text)), err=err)  # noqa: TID251 - this is the one place


@contextmanager
def _messages(extra: str | None = None) -> Iterator[None]:
    """Turn errors into messages; a missing library into the name of the `extra` that installs it."""
    try:
        yield
    except FmallocError as error:
        raise UserError(as_written(str(error))) from error
    except ModuleNotFoundError as error:
        if extra is None or error.name is None or error.name.startswith("fmalloc"):
            raise
        raise UserError(_not_installed(error.name, extra)) from error
    except BrokenPipeError:
        raise  # Click ends the process without a word.
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"disk full: {as_written(str(error))}; nothing half-written was kept, run again with room"
            ) from error
        raise UserError(as_written(str(error))) from error
    except KeyboardInterrupt:
        echo("interrupted: what was finished is kept; run the same command again to go on", err=True)
        raise click.exceptions.Exit(130) from None


class Command(click.Command):
    """Turns FmallocError, failed file operations, Ctrl-C and missing libraries into a message and an exit code.

    `extra`: the extra of the distribution that installs what the command needs beyond the base installation.
    `underscores`: read `--output_dir` for `--output-dir` too, as CTranslate2's converters spell it.
    """

    def __init__(self, *, extra: str | None = None, underscores: bool = False, **keywords: Any) -> None:
        settings: dict[str, Any] = {**_SETTINGS}
        if underscores:
            settings["token_normalize_func"] = lambda token: token.replace("_", "-")
        super().__init__(context_settings=settings, **keywords)
        self.extra = extra
        for parameter in self.params:
            if isinstance(parameter, click.Option) and isinstance(parameter.type, click.types.FloatParamType):
                parameter.metavar = parameter.metavar or "X"
            elif isinstance(parameter, click.Option) and isinstance(parameter.type, click.types.IntParamType):
                parameter.metavar = parameter.metavar or "N"

    def invoke(self, context: click.Context) -> Any:
        with _messages(self.extra):
            return super().invoke(context)


@dataclass(frozen=True)
class Verb:
    """One line of a table of commands: where the command is declared (`module:attribute`), and what it does."""

    target: str
    help: str

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.target.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command), f"{self.target} is not a click command"
        return command


class Group(click.Group):
    """Commands from a table, by section; each is imported when it is called, so that help comes at once."""

    def __init__(self, *, sections: Mapping[str, Mapping[str, Verb]], **keywords: Any) -> None:
        super().__init__(context_settings={**_SETTINGS}, **keywords)
        self.sections = sections
        self.verbs = {name: verb for verbs in sections.values() for name, verb in verbs.items()}

    def list_commands(self, _context: click.Context) -> list[str]:
        """All names, in the table's order."""
        return list(self.verbs)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """The command of this name; None if there is none."""
        return self.verbs[name].load() if name in self.verbs else None

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing any command."""
        width = max(map(len, self.verbs))
        for section, verbs in self.sections.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), verb.help) for name, verb in verbs.items()])

    def invoke(self, context: click.Context) -> Any:
        with _messages():
            return super().invoke(context)


def needs(*modules: str, extra: str) -> None:
    """Raise FmallocError, which names the extra that brings it, if a module is not installed."""
    for module in modules:
        if find_spec(module) is None:
            raise FmallocError(_not_installed(module, extra))


def _not_installed(module: str, extra: str) -> str:
    return f"{module} is not installed: pip install 'fmalloc[{extra}]'"
