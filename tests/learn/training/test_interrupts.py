"""Ctrl-C and SIGTERM, sent to real processes, with and without a terminal."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from fmalloc.training.interrupts import Interrupts, exit_code, stop
from tests.support.killing import environment
from tests.support.terminal import Terminal

# Counts to 40 in held steps; what a stop leaves is the count on standard output.
PROGRAM = """
import sys, time
from fmalloc.training.interrupts import Interrupts, stop
with Interrupts(held=True) as interrupts:
    print("ready", flush=True)
    for count in range(40):
        time.sleep(0.05)
        if interrupts.pending:
            print(f"saved", flush=True)
            stop(interrupts.pending)
print("through", flush=True)
"""


def started(program: str = PROGRAM) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_without_a_terminal_it_saves_and_ends(number: int, code: int) -> None:
    process = started()
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert output == "saved\n"
    assert process.returncode in (code, 130)


def test_what_is_ignored_stays_ignored() -> None:
    process = started(f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{PROGRAM}".replace("40", "4"))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert output == "through\n"


def test_on_a_terminal_it_asks_and_no_means_on() -> None:
    terminal = Terminal(sys.executable, "-c", PROGRAM)
    terminal.wait_for("ready")
    terminal.type("\x03")
    terminal.wait_for("Stop after saving? [Y/n]")
    terminal.type("n\n")
    assert terminal.code() == 0
    assert "through" in terminal.seen
    assert "saved" not in terminal.seen


@pytest.mark.parametrize("answer", ["\n", "y\n", "\x03"])
def test_yes_nothing_and_a_second_ctrl_c_mean_stop(answer: str) -> None:
    terminal = Terminal(sys.executable, "-c", PROGRAM)
    terminal.wait_for("ready")
    terminal.type("\x03")
    terminal.wait_for("Stop after saving? [Y/n]")
    terminal.type(answer)
    assert terminal.code() in (130, -signal.SIGINT)
    assert "saved" in terminal.seen


DRAWING = """
import os, signal
from fmalloc.training.interrupts import Interrupts, stop
from fmalloc_shared.commands.progress import bar, console

class Interrupted:
    def __rich_console__(self, *_):
        os.kill(os.getpid(), signal.SIGINT)
        yield "drawn"

with bar("task", 40) as advance, Interrupts(held=True) as interrupts:
    console.print(Interrupted())
"""


def test_ctrl_c_while_something_is_drawn_asks_once_it_is_drawn() -> None:
    terminal = Terminal(
        sys.executable, "-c", f"{DRAWING}    while not interrupts.pending: advance(0)\n    stop(interrupts.pending)"
    )
    terminal.wait_for("Stop after saving? [Y/n]", 60)
    terminal.type("\n")
    assert terminal.code() in (130, -signal.SIGINT), terminal.seen


def test_ctrl_c_in_the_last_drawing_is_not_lost() -> None:
    terminal = Terminal(sys.executable, "-c", f"{DRAWING}print('through')")
    terminal.wait_for("drawn", 60)
    terminal.type("\n")  # an answer, should it be asked after all
    assert terminal.code() in (130, -signal.SIGINT), terminal.seen
    assert "through" not in terminal.seen


def test_released_it_stops_at_once_and_handlers_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts(held=True) as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.pending == signal.SIGTERM
        with pytest.raises(SystemExit, match="143"), interrupts.released():
            pass
        assert interrupts.held
        interrupts.pending = None
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(SystemExit, match="143"), Interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(SystemExit, match="143"), Interrupts(held=True):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_thread_leaves_signals_to_the_main_one() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with Interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_exit_codes() -> None:
    codes = []
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            stop(number)
        except BaseException as error:
            codes.append(exit_code(error))
    assert codes == [130, 143]
    assert exit_code(OSError("full")) == 2
