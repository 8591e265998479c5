"""Bottleneck adapters: one set per task on the frozen base (Houlsby et al. 2019; Bapna and Firat 2019)."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fmalloc.methods.finetuning import FineTuning
from fmalloc.methods.method import BASE, MethodSettings
from fmalloc.methods.sequential import Single, Start
from fmalloc.model.assembly import put_parameters

_PLACES = ("out_proj", "fc2")


class AdapterSettings(MethodSettings):
    """Width of the adapters; they have their own learning rate."""

    learning_rate: Annotated[float | None, Field(gt=0, description="instead of the recipe's")] = 5e-3
    bottleneck: Annotated[int, Field(ge=1, description="units of each adapter")] = 32


class Inserted(Single):
    """A task inserts modules into the frozen base, and trains and keeps only them: a state is their tensors."""

    @abstractmethod
    def insert(self, model: Any) -> None:
        """Put untrained modules into the model, initialised by torch's generator."""

    def fold(self, model: Any) -> Any:
        """The model for serving, once the trained tensors are in."""
        return model

    def trainable(self, start: Start) -> FineTuning:
        """The inserted parameters."""
        new = self._inserted(start.model, start.settings.seed)
        return FineTuning(start.model, start.validator, start.settings, new)

    def load(self, state: str) -> tuple[Any, Any]:
        """The base with a state's modules."""
        model, tokenizer = super().load(BASE)
        if state != BASE:
            self._inserted(model, 0)
            put_parameters(model, self.parameters_of(state))
            model = self.fold(model)
        return model.eval().requires_grad_(False), tokenizer

    def _inserted(self, model: Any, seed: int) -> Mapping[str, nn.Parameter]:
        before = {id(parameter) for parameter in model.parameters()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.insert(model)
        return {name: parameter for name, parameter in model.named_parameters() if id(parameter) not in before}


class Adapter(Inserted):
    """An adapter behind every attention's output projection and every feed-forward layer, inside the residual branch.

    peft has no bottleneck adapters; LoRA, which it has, is the method `lora`.
    """

    name = "adapter"
    settings_type = AdapterSettings

    def insert(self, model: Any) -> None:
        """Wrap the projections that end a residual branch."""
        for path, module in [*model.named_modules()]:
            parent, _, name = path.rpartition(".")
            if name in _PLACES and isinstance(module, nn.Linear):
                setattr(model.get_submodule(parent), name, Bottleneck(module, self.settings.bottleneck))


class Bottleneck(nn.Module):
    """A projection followed by x + up(relu(down(x))); `up` starts at 0, so that the model is unchanged at first."""

    def __init__(self, projection: nn.Linear, units: int) -> None:
        super().__init__()
        width = projection.out_features
        self.projection = projection
        self.down, self.up = nn.Linear(width, units), nn.Linear(units, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.to(projection.weight.device)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (…, in) -> (…, out)."""
        output = self.projection(hidden)
        return output + self.up(F.relu(self.down(output)))  # type: ignore[no-any-return]
