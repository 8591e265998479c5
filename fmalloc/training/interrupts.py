"""Ctrl-C and SIGTERM as requests to stop, obeyed at points where no work is lost."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NoReturn

from fmalloc_shared.commands.progress import console, paused

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_QUESTION = "Stop after saving? [Y/n] "
# Seconds after which a Ctrl-C is heard that came while something was drawn.
_SOON = 0.02


def exit_code(error: BaseException) -> int:
    """What a process returns that ends with this error: 130 after Ctrl-C, 143 after SIGTERM, otherwise 2."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    return 2


def stop(number: int) -> NoReturn:
    """End as the signal asks: KeyboardInterrupt, or SystemExit with 128 + number."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    console.print("stopped: what was finished is kept; run the same command again to go on")
    raise SystemExit(128 + number)


class Interrupts:
    """Turns SIGINT and SIGTERM into `stop`, at once or, while `held`, only into `pending`.

    The first Ctrl-C asks, if there is a terminal to ask; a second one, or none to ask, means yes. It asks once nothing
    is being drawn: within a drawing the question would be kept back, or wait for a lock that waits for the drawing. A
    signal that the process was started to ignore stays ignored.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.held = held
        self.pending: int | None = None
        self._asking = False
        self._postponed = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._postponed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.pending = signal.SIGINT
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None and self.pending is not None:
            stop(self.pending)  # it came after the last point that looks at `pending`

    @contextmanager
    def released(self) -> Iterator[None]:
        """Within this context a signal stops at once, including one that came before."""
        held, self.held = self.held, False
        try:
            if self.pending is not None:
                stop(self.pending)
            yield
        finally:
            self.held = held

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asking:
            raise KeyboardInterrupt
        if number == signal.SIGINT and self.pending is None and _can_ask():
            if _draws(frame):
                self._postpone()
                return
            if not self._confirmed():
                return
        self.pending = number
        if not self.held:
            stop(number)

    def _postpone(self) -> None:
        self._before.setdefault(signal.SIGALRM, signal.signal(signal.SIGALRM, self._handle_postponed))
        signal.setitimer(signal.ITIMER_REAL, _SOON)
        self._postponed = True

    def _handle_postponed(self, _number: int, frame: FrameType | None) -> None:
        self._postponed = False
        self._handle(signal.SIGINT, frame)

    def _confirmed(self) -> bool:
        self._asking = True
        try:
            with paused():
                console.print(_QUESTION, end="")
                return sys.stdin.readline().strip().lower() not in ("n", "no")
        except KeyboardInterrupt:
            return True
        finally:
            self._asking = False


def _draws(frame: FrameType | None) -> bool:
    """Whether what a signal interrupted is part of drawing on the terminal."""
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "rich":
            return True
        frame = frame.f_back
    return False


def _can_ask() -> bool:
    """Whether a terminal is there, and ours: a process in the background would be halted by reading from it."""
    try:
        return sys.stdin.isatty() and sys.stderr.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False
