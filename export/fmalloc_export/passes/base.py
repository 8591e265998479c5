"""What a pass is."""

from typing import Protocol

from fmalloc_export.model import DomainModel


class Pass(Protocol):
    """A named step of the compiler."""

    @property
    def name(self) -> str:
        """As it stands in the manifest."""

    def apply(self, model: DomainModel) -> tuple[DomainModel, str]:
        """Return the new model and one sentence on what was done; `model` itself stays as it was."""
