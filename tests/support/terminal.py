"""A process behind a real terminal."""

import os
import pty
import select
import time

from tests.support.killing import environment


class Terminal:
    """A program on a terminal of its own, which hears Ctrl-C as a user's would."""

    def __init__(self, *command: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, environment())
        self.seen = ""

    def wait_for(self, text: str, seconds: float = 250) -> None:
        """Read until `text` was shown."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            if select.select([self.fd], [], [], 0.2)[0]:
                self.seen += os.read(self.fd, 4096).decode(errors="replace")

    def type(self, text: str) -> None:
        """Press keys; \\x03 is Ctrl-C."""
        os.write(self.fd, text.encode())

    def code(self) -> int:
        """What it returned."""
        try:
            while True:
                self.seen += os.read(self.fd, 4096).decode(errors="replace")
        except OSError:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
