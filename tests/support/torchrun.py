"""Run a module in several processes, as torchrun does."""

import subprocess
import sys
from collections.abc import Sequence

from tests.support.killing import environment


def torchrun(arguments: Sequence[str], count: int = 2) -> subprocess.Popen[str]:
    """Start `arguments` (a script or -m module, and what follows) in `count` processes on free local ports."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    return subprocess.Popen(
        [*command, "--nproc-per-node", str(count), *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
