"""Learning curves as TensorBoard event files, written while a task is learned."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from fmalloc.store.records import CurvePoint
from fmalloc_shared.commands.command import needs


def scalars(point: CurvePoint) -> Iterator[tuple[str, float]]:
    """Tags and values of a validation; scores that were not measured (`bleu` and `chrf` both 0) are left out."""
    if point.bleu or point.chrf:
        yield "dev/bleu", point.bleu
        yield "dev/chrf", point.chrf
    yield "dev/nll", point.nll
    yield "dev/nll_shuffled", point.nll_shuffled
    yield "claimed", float(point.claimed)
    if point.loss is not None:
        yield "train/mean_loss", point.loss
    for domain, nll in sorted(point.earlier.items()):
        yield f"earlier/{domain}", nll


class TensorBoardLog:
    """Writes one run's event file into a folder, which is created if missing.

    Events in earlier files there are purged: all of them, or for a resumed run those after update `resumed_at`.

    Raises:
        FmallocError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path, resumed_at: int | None = None) -> None:
        needs("tensorboard", "torch", extra="tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=0 if resumed_at is None else resumed_at + 1)

    def step(self, update: int, loss: float, learning_rate: float) -> None:
        """An update: its training loss in nats, and the learning rate."""
        self._write(update, [("train/loss", loss), ("train/learning_rate", learning_rate)])

    def point(self, point: CurvePoint) -> None:
        """A validation."""
        self._write(point.update, scalars(point))

    def close(self) -> None:
        """Write what is still in memory, and end the file."""
        self._writer.close()

    def _write(self, update: int, values: Iterable[tuple[str, float]]) -> None:
        for tag, value in values:
            self._writer.add_scalar(tag, value, update)
