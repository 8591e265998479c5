"""How one task is learned."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fmalloc.store.records import PrivateKind
from fmalloc.training.schedule import Schedule, Selection

Seed = Annotated[int, Field(ge=0, lt=2**32)]

# Of tasks that a recipe gives no number of updates for: as many as go through the text so often, within these.
_PASSES = 4
_FEWEST_UPDATES, _MOST_UPDATES = 200, 20_000


class Section(BaseModel):
    """A mapping of a recipe: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LearningSettings(Section):
    """How one task is learned; what is not given of updates fits the text, of warm-up and cycles the updates."""

    updates: Annotated[
        int | None, Field(ge=1, description="most updates; null: four passes over the text, 200 to 20,000")
    ] = None
    minutes: Annotated[
        float | None, Field(gt=0, description="most minutes per task: fewer updates, by the pace of the first ones")
    ] = None
    batch_tokens: Annotated[int, Field(ge=1)] = 2048
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    gate_learning_rate: Annotated[float, Field(gt=0, description="gates travel further than weights")] = 4e-2
    rate_scale: Annotated[
        float, Field(gt=0, description="all learning rates are multiplied by it; corrections set it, for one version")
    ] = 1.0
    warmup_updates: Annotated[int | None, Field(ge=1, description="null: a fifth of the updates, at most 4000")] = None
    anneal_updates: Annotated[
        int | None, Field(ge=2, description="length of a temperature cycle; null: a fifth of the updates, 20 to 1000")
    ] = None
    tau_max: Annotated[float, Field(gt=1)] = 400.0
    validate_every: Annotated[
        int | None, Field(ge=1, description="a multiple of anneal_updates; null: as often as a cycle ends")
    ] = None
    patience: Annotated[int, Field(ge=1, description="validations without a better one")] = 5
    validation_sentences: Annotated[int, Field(ge=0, description="dev pairs translated; 0 needs select_by nll")] = 500
    validation_pairs: Annotated[int | None, Field(ge=1, description="dev pairs that the NLL is measured on")] = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float | None, Field(gt=0, description="largest gradient norm; null: no clipping")] = None
    select_by: Annotated[Selection, Field(description="best dev BLEU, or lowest dev NLL")] = "bleu"
    maximum_length: Annotated[int, Field(ge=2, description="tokens per side; longer pairs are left out")] = 256
    fresh_cells: bool = True
    gates: Annotated[Literal["closed", "open"], Field(description="of writable cells, at the start")] = "open"
    private: Annotated[list[PrivateKind], Field(description="parameters a task keeps beside its cells")] = []
    private_rank: Annotated[int, Field(ge=1, description="of low-rank additions to weights")] = 8
    private_embedding_rank: Annotated[
        int | None, Field(ge=1, description="of those to embeddings; null: four times private_rank")
    ] = None
    private_learning_rate: Annotated[float | None, Field(gt=0, description="none: learning_rate")] = None
    reads: Literal["earlier", "general"] = "earlier"
    share: Annotated[
        Annotated[float, Field(gt=0, le=1)] | Literal["even"] | None,
        Field(
            description="of each layer's free cells, offered to the task; even: as much as to each later task; null: "
            "even, but half at most"
        ),
    ] = None
    allocator: Annotated[
        Literal["gates", "tfidf"], Field(description="free cells are offered at random, or those of highest TF-IDF")
    ] = "gates"
    terminology: Annotated[
        bool,
        Field(description="also learn from sources that say beside some words how they are to be translated"),
    ] = False
    memory: Annotated[
        bool,
        Field(description="also learn from sources that have the translation of a similar one beside them"),
    ] = False
    seed: Seed = 1

    @model_validator(mode="after")
    def _validate_on_hard_end(self) -> "LearningSettings":
        cycle, every = self.anneal_updates, self.validate_every
        if self.updates and not cycle:
            cycle = every or _cycle_of(self.updates)
        if every and cycle and every % cycle:
            raise ValueError(
                f"validate_every {every} is not a multiple of anneal_updates {cycle}: validation falls on the hard end "
                "of a temperature cycle"
            )
        return self

    @model_validator(mode="after")
    def _rank_cells_that_keep_their_weights(self) -> "LearningSettings":
        if self.allocator == "tfidf" and self.fresh_cells:
            raise ValueError("allocator tfidf ranks cells by their pretrained weights; set fresh_cells: false")
        return self

    @model_validator(mode="after")
    def _select_by_what_is_measured(self) -> "LearningSettings":
        if self.select_by == "bleu" and not self.validation_sentences:
            raise ValueError("validation_sentences 0 measures no BLEU to select by; set select_by: nll")
        return self

    def fitted(self, updates: int) -> "LearningSettings":
        """These settings for a run of so many updates: what depends on their number is given."""
        cycle = self.anneal_updates or self.validate_every or _cycle_of(updates)
        fitting = {
            "updates": updates,
            "warmup_updates": self.warmup_updates or min(4000, max(1, updates // 5)),
            "anneal_updates": cycle,
            "validate_every": self.validate_every or cycle,
        }
        return self.model_copy(update=fitting)

    @property
    def embedding_rank(self) -> int:
        """Of low-rank additions to embeddings: they have a row per token, so that they need more than layers do."""
        return self.private_embedding_rank or 4 * self.private_rank

    @property
    def annotates(self) -> bool:
        """Whether there is more to learn from than the pairs as they are."""
        return self.terminology or self.memory

    @property
    def cycle(self) -> int:
        """Updates of a temperature cycle, of `fitted` settings."""
        assert self.anneal_updates
        return self.anneal_updates

    def schedule(self) -> Schedule:
        """What the training loop reads of `fitted` settings."""
        names = Schedule.__dataclass_fields__
        return Schedule(**{name: value for name, value in self.model_dump().items() if name in names})


def _cycle_of(updates: int) -> int:
    return min(1000, max(20, updates // 5))


def updates_for(tokens: float, batch_tokens: int) -> int:
    """How many updates a text of so many padded tokens, of the longer side, is worth where a recipe does not say."""
    return min(_MOST_UPDATES, max(_FEWEST_UPDATES, round(_PASSES * tokens / batch_tokens)))
