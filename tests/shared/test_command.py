import errno

import click
import pytest
from click.testing import CliRunner

from fmalloc_shared.command import Command
from fmalloc_shared.errors import FmallocError


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
