"""LoRA through peft: one low-rank update of the frozen base per task (Hu et al. 2022)."""

from typing import Annotated, Any

from pydantic import Field

from fmalloc.methods.adapter import Inserted
from fmalloc.methods.method import MethodSettings
from fmalloc.model.architectures import load_base
from fmalloc_shared.commands.command import needs
from fmalloc_shared.errors import FmallocError


class LoraSettings(MethodSettings):
    """Rank, scale and place of the updates; they have their own learning rate."""

    learning_rate: Annotated[float | None, Field(gt=0, description="instead of the recipe's")] = 5e-3
    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[float, Field(gt=0, description="updates are scaled by alpha / rank")] = 32.0
    targets: Annotated[tuple[str, ...], Field(min_length=1, description="names of projections")] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "out_proj",
        "fc1",
        "fc2",
    )


class Lora(Inserted):
    """Low-rank updates of attention and feed-forward projections, merged into the base's weights for serving."""

    name = "lora"
    settings_type = LoraSettings

    def check(self) -> None:
        """See that peft is installed, and that the base has projections of these names."""
        needs("peft", extra="compare")
        model, _ = load_base(self.run.recipe.base, self.run.languages)
        self.insert(model)

    def insert(self, model: Any) -> None:
        """Let peft wrap the target projections in place; the model keeps its class.

        Raises:
            FmallocError: the model has no such projection.
        """
        from peft import LoraConfig, inject_adapter_in_model

        settings = self.settings
        config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=list(settings.targets))
        try:
            inject_adapter_in_model(config, model)
        except ValueError as error:
            raise FmallocError(f"methods.lora.targets {', '.join(settings.targets)}: {error}") from error

    def fold(self, model: Any) -> Any:
        """Merge the updates into the weights; the result is a plain model of the base's shape."""
        from peft.tuners.lora import LoraLayer

        for path, module in [*model.named_modules()]:
            if isinstance(module, LoraLayer):
                module.merge()
                parent, _, name = path.rpartition(".")
                setattr(model.get_submodule(parent), name, module.get_base_layer())
        return model
