"""A fine-tuned copy of the base for each task: the upper bound on quality, at a full model's bytes a domain."""

from collections.abc import Sequence
from typing import Any

from fmalloc.methods.method import BASE
from fmalloc.methods.sequential import Sequential


class Single(Sequential):
    """Every task starts from the base and keeps a model of its own."""

    name = "single"
    ordered = False

    def state_of(self, domain: str, learned: Sequence[str]) -> str:
        """The domain's own, once it was learned."""
        return domain if domain in learned else BASE

    def served(self, _model: Any, earlier: Sequence[str]) -> Any:
        """An earlier domain is served by its own state."""
        return lambda domain: self.load(self.state_of(domain, earlier))[0].to(self.run.device.torch)
