import errno
import io
import unicodedata

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from fmalloc_shared.commands.command import Command, UserError, echo
from fmalloc_shared.commands.terminal import Terminal
from fmalloc_shared.errors import FmallocError, printable


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (FmallocError("mend this"), 2, "Error: mend this"),
        (OSError(errno.ENOSPC, "No space left on device", "store/x"), 2, "disk full: "),
        (FileNotFoundError(errno.ENOENT, "No such file", "x.tsv"), 2, "x.tsv"),
        (KeyboardInterrupt(), 130, "run the same command again"),
    ],
)
def test_commands_end_with_a_message_and_a_code(error: BaseException, code: int, message: str) -> None:
    @click.command(cls=Command)
    def failing() -> None:
        raise error

    result = CliRunner().invoke(failing)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output


@given(st.text(st.characters(categories=None)))
def test_what_is_shown_steers_no_terminal(text: str) -> None:
    shown = printable(text)
    kinds = {unicodedata.category(character) for character in shown if character not in "\n\t"}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
    assert all(character in shown for character in text if character.isprintable())
    shown.encode()


STEERING = "de\x1b]0;mine\x07\x9b2J\u202e\r[/b][link=x]"
SHOWN = "de\\u001b]0;mine\\u0007\\u009b2J\\u202e\\u000d[/b][link=x]"


def test_errors_lines_and_tables_are_printable() -> None:
    @click.command(cls=Command)
    def shown() -> None:
        echo(STEERING)
        output = io.StringIO()
        table = Table("name", title=STEERING, caption=STEERING)
        table.add_row(STEERING)
        Terminal(file=output, markup=False, width=200).print(table, STEERING)
        click.echo(output.getvalue())
        raise FmallocError(f"store.json: languages.source: {STEERING}")

    result = CliRunner().invoke(shown)
    assert result.exit_code == 2
    assert result.output.count(SHOWN) == 6
    assert not any(character in result.output for character in "\x1b\x07\x9b\u202e\r")
    assert SHOWN in UserError(STEERING).format_message()
