"""Validation of a model: NLL with true and shuffled sources, greedy BLEU, and the NLL of earlier domains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fmalloc.corpus import Pair
from fmalloc.evaluation.evaluate import evaluate
from fmalloc.model.devices import Device
from fmalloc.model.objective import contrasted_nll, nll
from fmalloc.model.text.batches import Example
from fmalloc.store.records import CurvePoint, Score
from fmalloc.training.distributed import Group
from fmalloc_shared.languages import LanguagePair


@dataclass(frozen=True)
class Validator:
    """Scores states of a model on dev: `examples` for the NLL, `pairs` (may be none) for BLEU and chrF.

    `watch` gives the dev NLL of each earlier domain, from the model in training if that is what would serve it.
    """

    tokenizer: Any
    languages: LanguagePair
    examples: Sequence[Example]
    pairs: Sequence[Pair]
    device: Device
    batch_tokens: int
    watch: Callable[[Any], Mapping[str, float]] = field(default=lambda _model: {})

    def point(self, model: Any, update: int, claimed: int = 0) -> CurvePoint:
        """Score a model in evaluation mode; its mode is restored. All processes of a run do some of it."""
        was_training = model.training
        model.eval()
        pad = self.tokenizer.pad_token_id
        share = Group.current().shared
        measured = contrasted_nll(
            model, self.examples, self.device, batch_tokens=self.batch_tokens, pad=pad, share=share
        )
        translated = Score(bleu=0.0, chrf=0.0)
        if self.pairs:
            translated = evaluate(model, self.tokenizer, self.pairs, self.languages, beam_size=1, share=share).score
        earlier = {name: float(value) for name, value in self.watch(model).items()}
        model.train(was_training)
        return CurvePoint(
            update=update,
            bleu=translated.bleu,
            chrf=translated.chrf,
            nll=measured.true,
            nll_shuffled=measured.shuffled,
            claimed=claimed,
            earlier=earlier,
        )


@dataclass(frozen=True)
class Watched:
    """Encoded dev pairs of domains that were learned before, to watch their NLL during learning."""

    examples: Mapping[str, Sequence[Example]]
    device: Device
    batch_tokens: int
    pad: int

    def nll(self, model_of: Callable[[str], Any]) -> dict[str, float]:
        """NLL of each domain with the model that serves it."""
        how: dict[str, Any] = {"batch_tokens": self.batch_tokens, "pad": self.pad, "share": Group.current().shared}
        return {name: nll(model_of(name), examples, self.device, **how) for name, examples in self.examples.items()}
