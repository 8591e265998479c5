"""What is found out before a student learns, and then holds also for a run that goes on: layers and updates."""

from pathlib import Path

from fmalloc_shared.files import write_atomically
from fmalloc_shared.strict import Count, StrictModel


class Plan(StrictModel):
    """plan.json of a work folder."""

    layers: tuple[Count, ...]
    """The teacher's decoder layers that the student begins with."""
    updates: Count
    """How many there will be."""

    @classmethod
    def find(cls, path: Path) -> "Plan | None":
        """The plan of a run that was begun."""
        return cls.read(path) if path.is_file() else None

    def keep(self, path: Path) -> "Plan":
        """Write it down."""
        write_atomically(path, self.to_bytes())
        return self
