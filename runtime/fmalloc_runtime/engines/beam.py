"""Beam search with the rules that CTranslate2 and transformers' `early_stopping=True` share; numpy only.

Greedy search is beam search of size 1.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

# The log-probability of the impossible: finite, so that sums with it stay comparable.
_NEVER = np.float32(-1e10)
_BLOCKS = 64


class Decoder(Protocol):
    """A decoder during a batch: rows are hypotheses, those of a sentence adjacent."""

    def advance(self, ids: Integers) -> Floats:
        """Append tokens `ids` (rows, tokens) to the hypotheses: logits (rows, tokens, vocabulary).

        The caller may overwrite them, and so may the next call.
        """
        ...

    def select(self, rows: Integers, sentences: Integers | None) -> None:
        """Continue with hypotheses `rows`, which may repeat; `sentences`: those left, None for all."""
        ...

    def attention(self, row: int) -> Floats | None:
        """Attention of a hypothesis after each appended token, (tokens, source tokens); None if it is not kept."""
        ...


@dataclass(frozen=True)
class BeamOutput:
    """Tokens without prompt and end token; `score` is the log-probability over length to the length penalty's power.

    `attention`: (tokens, source tokens), see Decoder.attention.
    """

    ids: tuple[int, ...]
    score: float
    attention: Floats | None = field(default=None, compare=False)


@dataclass(frozen=True)
class BeamSearch:
    """Search options.

    `end`: the end token. `longest`: most output tokens, end token included. `shortest`: fewest tokens before the end
    token. The length that scores are divided by counts the end token, and the prompt without its first token.
    `hypotheses`: number of outputs per sentence, at most `beam_size`.
    """

    beam_size: int
    end: int
    longest: int
    length_penalty: float = 1.0
    shortest: int = 0
    hypotheses: int = 1

    def run(self, decoder: Decoder, prompt: tuple[int, ...], sentences: int) -> list[list[BeamOutput]]:
        """The best `hypotheses` outputs of each sentence, best first, after `prompt`: start token and target prefix.

        There are fewer if vocabulary and `longest` allow no more.
        """
        if self.longest < 1:
            return [[BeamOutput((), 0.0)] for _ in range(sentences)]
        found: list[list[BeamOutput]] = [[] for _ in range(sentences)]
        best_ended = np.zeros(sentences, dtype=np.bool_)
        alive = np.arange(sentences)
        scores: Floats = np.zeros((sentences, 1), dtype=np.float32)
        written: Integers = np.zeros((sentences, 1, 0), dtype=np.int64)
        ids: Integers = np.tile(np.array(prompt, dtype=np.int64), (sentences, 1))
        for step in range(self.longest):
            logits = decoder.advance(ids)[:, -1]
            if step < self.shortest:
                logits[:, self.end] = -np.inf
            width = written.shape[1]
            scores, beams, tokens = best(logits, scores, 2 * self.beam_size)
            if step == 0 and len(prompt) > 1:
                # CTranslate2's rule: right after a prefix the end token is taken only if it is the most likely token.
                scores[:, 1:][tokens[:, 1:] == self.end] = _NEVER
            possible = scores > _NEVER / 2
            ends = possible & (tokens == self.end)
            best_ended[alive] |= ends[:, 0]
            last = step + 1 == self.longest
            finished = possible & (ends | last)
            for row, column in zip(*np.nonzero(finished[:, : self.beam_size]), strict=True):
                beam = beams[row, column]
                output = (*written[row, beam].tolist(), int(tokens[row, column]))[: -1 if ends[row, column] else None]
                score = float(scores[row, column]) / (step + len(prompt)) ** self.length_penalty
                attention = decoder.attention(row * width + beam)
                if attention is not None:
                    attention = attention[len(prompt) - 1 :][: len(output)]
                found[alive[row]].append(BeamOutput(output, score, attention))
            going = np.tile(np.arange(self.beam_size), (len(alive), 1))
            for row in np.flatnonzero(ends[:, : self.beam_size].any(axis=1)):
                going[row] = self._going(ends[row])
            left = np.flatnonzero([not last and not self._done(found[i], best_ended[i]) for i in alive])
            if not len(left):
                break
            kept = left[:, None], going[left]
            scores, beams, tokens = scores[kept], beams[kept], tokens[kept]
            written = np.concatenate([written[left[:, None], beams], tokens[:, :, None]], axis=2)
            decoder.select((left[:, None] * width + beams).ravel(), left if len(left) < len(alive) else None)
            alive, ids = alive[left], tokens.reshape(-1, 1)
        return [sorted(outputs, key=lambda output: -output.score)[: self.hypotheses] for outputs in found]

    def _going(self, ends: NDArray[np.bool_]) -> Integers:
        """The candidates that continue: a finished one is replaced by the next unfinished one."""
        size = self.beam_size
        spare = iter(np.flatnonzero(~ends[size:]) + size)
        return np.array([next(spare, place) if ends[place] else place for place in range(size)])

    def _done(self, found: list[BeamOutput], best_ended: bool) -> bool:
        if self.length_penalty == 0:
            # Without a length penalty no continuation can beat a finished best candidate.
            return best_ended and len(found) >= self.hypotheses
        return len(found) >= self.beam_size


def best(logits: Floats, scores: Floats, count: int) -> tuple[Floats, Integers, Integers]:
    """The likeliest continuations of each sentence, best first: scores, beams and tokens, each (sentences, count).

    `logits` (sentences * beams, vocabulary) are overwritten; `scores` (sentences, beams) are the beams' own.
    Raises FloatingPointError if a logit is NaN or infinite.
    """
    sentences, beams = scores.shape
    size = logits.shape[1]
    peaks = logits.max(axis=1, keepdims=True)
    if not np.isfinite(peaks).all():
        raise FloatingPointError("the model's logits are not finite")
    logits -= peaks
    logits += scores.reshape(-1, 1) - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    candidates = logits.reshape(sentences, beams * size)
    if candidates.shape[1] < count:
        missing = count - candidates.shape[1]
        candidates = np.pad(candidates, ((0, 0), (0, missing)), constant_values=_NEVER)
    rows, places = np.nonzero(candidates >= _threshold(candidates, count))
    values = candidates[rows, places]
    order = np.lexsort((places, -values, rows))
    chosen = order[np.searchsorted(rows, np.arange(sentences))[:, None] + np.arange(count)]
    return values[chosen], np.minimum(places[chosen] // size, beams - 1), places[chosen] % size


def _threshold(candidates: Floats, count: int) -> Floats:
    """A lower bound (sentences, 1) of the `count` largest values of each row, which few others reach.

    The maxima of disjoint parts are values of the row, so the `count` largest maxima bound the `count` largest values.
    """
    sentences, size = candidates.shape
    parts = size // _BLOCKS
    if parts < count:
        return np.full((sentences, 1), -np.inf, dtype=np.float32)
    maxima = candidates[:, : parts * _BLOCKS].reshape(sentences, _BLOCKS, parts).max(axis=1)
    return np.partition(maxima, parts - count, axis=1)[:, parts - count : parts - count + 1]
