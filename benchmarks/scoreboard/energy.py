"""Joules that the processor took, by the counters that Linux has of it (RAPL)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fmalloc_export.bench.rounds import Translating
from fmalloc_export.bench.runner import Decoded, Timed

POWERCAP = Path("/sys/class/powercap")
_PACKAGES = "intel-rapl:[0-9]"  # of AMD's processors, too; below each there are its parts, which it has counted already


@dataclass(frozen=True)
class Meter:
    """The counters of all processor packages; `reason` says why there are none."""

    zones: Sequence[Path] = ()
    reason: str | None = None

    @classmethod
    def find(cls, folder: Path = POWERCAP) -> "Meter":
        """The counters that this process may read."""
        zones = sorted(folder.glob(_PACKAGES))
        if not zones:
            return cls(reason=f"no {folder}/{_PACKAGES}: no RAPL on this machine, or not for guests")
        try:
            for zone in zones:
                _microjoules(zone)
        except OSError as error:
            return cls(reason=f"{zones[0]}/energy_uj cannot be read: {error.strerror}")
        return cls(zones)

    def read(self) -> Mapping[Path, int]:
        """Microjoules by zone."""
        return {zone: _microjoules(zone) for zone in self.zones}

    def since(self, before: Mapping[Path, int]) -> float | None:
        """Joules since `before`, of all packages; None without counters, which begin anew where they are full."""
        if not self.zones:
            return None
        return sum(_rise(zone, before[zone], now) for zone, now in self.read().items()) / 1e6


@dataclass
class Metered:
    """Passes on to a runner, and notes the joules of what is translated in batches, text to text."""

    runner: Translating
    meter: Meter
    joules: list[float] = field(default_factory=list)

    def translate(self, lines: Sequence[str], batch: int) -> Timed:
        """As Runner.translate."""
        return self._noted(lambda: self.runner.translate(lines, batch), batch > 1)

    def decode(self, lines: Sequence[str], batch: int) -> Decoded:
        """As Runner.decode."""
        return self.runner.decode(lines, batch)

    def _noted(self, translate: Callable[[], Timed], wanted: bool) -> Timed:
        before = self.meter.read()
        timed = translate()
        if wanted and (joules := self.meter.since(before)) is not None:
            self.joules.append(joules)
        return timed


def _microjoules(zone: Path) -> int:
    return int((zone / "energy_uj").read_text(encoding="ascii"))


def _rise(zone: Path, before: int, now: int) -> int:
    return now - before if now >= before else now - before + int((zone / "max_energy_range_uj").read_text("ascii"))
