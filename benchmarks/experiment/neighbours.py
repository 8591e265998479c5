"""kNN-MT: an outside reference that learns nothing, but looks the domain's training text up at every token.

Khandelwal, Fan, Jurafsky, Zettlemoyer and Lewis (ICLR 2021), "Nearest neighbor machine translation", equations 1 and 2:

    p(y) = λ p_kNN(y) + (1 - λ) p_model(y),    p_kNN(y) ∝ Σ over the k neighbours with value y of exp(-distance / T)

with squared distances between the decoder's state and the keys of a datastore. The base stays as it is: two hooks read
its state and mix the probabilities, so that the project's own search, scores and NLL run on the mixture unchanged.
The three hyperparameters are chosen by the NLL of dev text: one retrieval serves the whole grid.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.experiment.datastore import Datastore, batches_of, datastore, decoder_states, teacher_forced
from fmalloc.corpus import Pair, read_corpus, spread
from fmalloc.evaluation.evaluate import nll_of, score, translate
from fmalloc.model.architectures import languages_of, load_base
from fmalloc.model.devices import select
from fmalloc_shared.commands.progress import bar
from fmalloc_shared.languages import LanguagePair

NEIGHBOURS = (4, 8, 16, 32, 64)
WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# Times the mean distance of dev's neighbours: how far states are apart depends on the model.
TEMPERATURES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
_DEV_PAIRS = 100
_RECALLED = 256


@dataclass(frozen=True)
class Interpolation:
    """How much is looked up: `neighbours` k, `temperature` T, and the `weight` λ, 0 to 1, of what they say."""

    neighbours: int
    temperature: float
    weight: float


@dataclass(frozen=True)
class Retrieved:
    """What is looked up for each of some target tokens, under teacher forcing.

    states: (tokens, d_model). distances: of neighbours, and right: whether their values are the token, (tokens,
    neighbours), nearest first. likelihood: the model's probability of the token, (tokens,).
    """

    states: Tensor
    distances: Tensor
    right: Tensor
    likelihood: Tensor

    def nll(self, how: Interpolation) -> float:
        """Nats per token of the mixture."""
        weights = torch.softmax(-self.distances[:, : how.neighbours] / how.temperature, 1)
        looked_up = (weights * self.right[:, : how.neighbours]).sum(1)
        return float(-(how.weight * looked_up + (1 - how.weight) * self.likelihood).log().mean())


def neighbours(
    base: Path,
    corpora: Path,
    domain: str,
    work: Path,
    *,
    beam_size: int,
    sentences: int | None,
    pairs: int | None = None,
    languages: LanguagePair | None = None,
) -> dict[str, Any]:
    """Translate a domain's test set with a datastore of its training text, kept in `work / domain`; JSON-able.

    sentences, pairs: at most so many of the test set and of the training text, evenly spaced; None: all. languages: of
    the base, where its tokenizer does not name them. The base alone is measured beside it on the same sentences.

    Raises:
        FmallocError: as of load_base, read_corpus and datastore.
    """
    languages = languages or languages_of(base)
    corpus = read_corpus(corpora / domain, languages)
    model, tokenizer = load_base(base, languages)
    model.to(select("auto").torch)
    train: Sequence[Pair] = corpus.train if pairs is None else spread(corpus.train, pairs)
    found = datastore(model, tokenizer, base, train, languages, work / domain)
    tried = spread(corpus.dev, _DEV_PAIRS)
    dev = retrieved(model, tokenizer, found, tried, languages)
    how, grid = tuned(dev)
    test = corpus.test if sentences is None else spread(corpus.test, sentences)
    plain = _measured(model, tokenizer, test, languages, beam_size, f"{domain}: base")
    with interpolated(model, found, how):
        mixed = _measured(model, tokenizer, test, languages, beam_size, f"{domain}: neighbours")
    sample = dev.states[:: max(1, len(dev.states) // _RECALLED)]
    return {
        "domain": domain,
        "sentences": len(test),
        "beam_size": beam_size,
        "base": plain,
        "neighbours": mixed,
        "times_as_slow": mixed["seconds_per_sentence"] / plain["seconds_per_sentence"],
        "datastore": {**found.record, "recall": found.recall(sample, how.neighbours)},
        "settings": asdict(how),
        "dev": {"pairs": len(tried), "tokens": len(dev.states), "grid": grid},
    }


@contextmanager
def interpolated(model: Any, found: Datastore, how: Interpolation) -> Iterator[None]:
    """While it lasts, the model's logits are log-probabilities of the mixture, in search and under teacher forcing."""
    bias = getattr(model, "final_logits_bias", torch.zeros(1, device=model.device))  # is added to what lm_head gives

    with decoder_states(model) as states:

        def mix(_lm_head: Any, inputs: tuple[Tensor, ...], scores: Tensor) -> Tensor:
            queries = states(inputs[0].dim()).reshape(-1, inputs[0].shape[-1])
            own = torch.log_softmax((scores.float() + bias).reshape(len(queries), -1), 1)
            return mixture(own, *found.search(queries, how.neighbours), how).view(scores.shape) - bias

        hook = model.lm_head.register_forward_hook(mix)
        try:
            yield
        finally:
            hook.remove()


def mixture(own: Tensor, distances: Tensor, values: Tensor, how: Interpolation) -> Tensor:
    """Log-probabilities of the mixture, (rows, vocabulary); own: the model's; the others: as Datastore.search."""
    weights = how.weight * torch.softmax(-distances / how.temperature, 1)
    looked_up = torch.zeros_like(own).scatter_add_(1, values, weights)
    rest = torch.tensor(1 - how.weight, device=own.device).log()
    return torch.logaddexp(own + rest, looked_up.log())


@torch.inference_mode()
def retrieved(
    model: Any, tokenizer: Any, found: Datastore, pairs: Sequence[Pair], languages: LanguagePair
) -> Retrieved:
    """What is looked up for each target token of these pairs, with as many neighbours as the grid has at most."""
    parts: list[tuple[Tensor, ...]] = []
    batches = batches_of(model, tokenizer, pairs, languages)
    with bar("neighbours of dev", sum(batch.target_tokens for batch in batches)) as advance:
        for target, states, scores in teacher_forced(model, batches):
            distances, values = found.search(states, max(NEIGHBOURS))
            likelihood = torch.softmax(scores, 1).gather(1, target[:, None])[:, 0]
            parts.append((states, distances, values == target[:, None], likelihood))
            advance(len(target))
    return Retrieved(*(torch.cat(part).double() for part in zip(*parts, strict=True)))


def tuned(dev: Retrieved) -> tuple[Interpolation, list[dict[str, float]]]:
    """The interpolation with the least NLL, and the whole grid: each with its `nll`; a weight of 0 is the model."""
    scale = float(dev.distances[dev.distances.isfinite()].mean()) or 1.0
    tried = [
        Interpolation(count, factor * scale, weight)
        for count in NEIGHBOURS
        for factor in TEMPERATURES
        for weight in WEIGHTS
    ]
    grid = [(how, dev.nll(how)) for how in tried]
    best, _ = min(grid, key=lambda entry: entry[1])
    nothing = Interpolation(0, 1.0, 0.0)
    return best, [{**asdict(how), "nll": nll} for how, nll in [(nothing, dev.nll(nothing)), *grid]]


def _measured(
    model: Any, tokenizer: Any, test: Sequence[Pair], languages: LanguagePair, beam_size: int, name: str
) -> dict[str, Any]:
    """BLEU and chrF with intervals, NLL, and seconds per sentence of the search alone."""
    with bar(name, len(test)) as advance:
        began = time.perf_counter()
        sources = [pair.source for pair in test]
        texts = translate(model, tokenizer, sources, languages, beam_size=beam_size, on_progress=advance).texts
        seconds = time.perf_counter() - began
    scores = score(texts, [pair.target for pair in test], intervals=True).score
    found = {**scores.model_dump(), "nll": nll_of(model, tokenizer, test, languages)}
    return {**found, "seconds_per_sentence": seconds / len(test)}
