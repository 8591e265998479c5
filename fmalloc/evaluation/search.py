"""Beam search in PyTorch: length penalty 1, and a sentence ends once it has as many finished hypotheses as beams.

These are the rules of transformers' `generate` with `early_stopping=True`, to which it gives the same tokens, and those
of CTranslate2. Greedy search is beam search of size 1.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fmalloc.model.decoding import Decoding, encode, mask_of
from fmalloc.model.devices import attention
from fmalloc.model.text.batches import batch_indices

# The log-probability of what must not be chosen: finite, so that sums with it stay comparable.
_NEVER = -1e9
# Sentences leave a batch when this share of it has ended: leaving copies the keys and values of those that stay.
_LEAVING = 0.125
# What a batch may take of the memory: on a CPU larger ones are not faster.
_CPU_BYTES = 2**29
_CUDA_SHARE = 0.25
_ENCODED_TOKENS, _ENCODED_ELSEWHERE = {"cpu": 1024}, 2**16


@dataclass(frozen=True)
class Search:
    """How to search.

    prompt: what every output begins with, the start token first. longest: most tokens behind the start token; shortest:
    fewest of them before the end token. forbidden: ids of tokens whose probability goes to the others.
    """

    beam_size: int
    prompt: tuple[int, ...]
    longest: int
    shortest: int = 0
    forbidden: Tensor | None = None

    @torch.inference_mode()
    def run(
        self,
        model: Any,
        sources: Sequence[Sequence[int]],
        on_progress: Callable[[int], None] | None = None,
        memories: Sequence[Tensor] | None = None,
    ) -> list[list[int]]:
        """The best output of each source, without the prompt, and with the end token unless it was cut.

        `memories`: what `encoded` gave for the sources, where several searches share it.
        """
        outputs: list[list[int]] = [[] for _ in sources]
        costs = [_bytes(model, len(source), self) for source in sources]
        for group in batch_indices(costs, memory_budget(model.device)):
            read = [memories[i] for i in group] if memories else encoded(model, [sources[i] for i in group])
            mask = mask_of([len(memory) for memory in read], model.device)
            with attention(model.device):
                for place, output in self._batch(model, pad_sequence(read, batch_first=True), mask):
                    outputs[group[place]] = output
            if on_progress:
                on_progress(len(group))
        return outputs

    def _batch(self, model: Any, memory: Tensor, mask: Tensor) -> Iterable[tuple[int, list[int]]]:
        """Places in the batch, in the order in which they end, and their outputs."""
        end, places = int(model.config.eos_token_id), list(range(len(mask)))
        decoding = Decoding(model, memory, mask, self.beam_size)
        beams = _Beams(len(mask), self.beam_size, range(len(self.prompt), self.longest + 1), mask.device)
        forbidden = None if self.forbidden is None else self.forbidden.to(mask.device)
        ids = mask.new_tensor(self.prompt).expand(len(mask) * self.beam_size, -1)
        for length in range(len(self.prompt), self.longest + 1):
            logits = decoding.logits(ids)
            if forbidden is not None:
                logits.index_fill_(1, forbidden, -torch.inf)
            if length <= self.shortest:
                logits[:, end] = -torch.inf
            rows = beams.extend(logits, length, end, cut=length == self.longest)
            ended = (beams.finished >= self.beam_size).tolist()
            staying = [row for row, over in enumerate(ended) if not over]
            if not staying or length == self.longest:
                yield from zip(places, beams.outputs(range(len(places))), strict=True)
                return
            decoding.reorder(rows)
            if len(staying) <= (1 - _LEAVING) * len(places):
                leaving = [row for row, over in enumerate(ended) if over]
                yield from zip([places[row] for row in leaving], beams.outputs(leaving), strict=True)
                places, kept = [places[row] for row in staying], torch.tensor(staying, device=mask.device)
                decoding.keep(kept)
                beams.keep(kept)
            ids = beams.last[:, :, None].flatten(0, 1)


class _Beams:
    """Hypotheses of some sentences. `finished` (sentences,): how many have ended; `last` (sentences, beams): tokens.

    All are kept as a token and the hypothesis that it continues, (sentences, tokens, beams), and read backwards.
    """

    def __init__(self, sentences: int, size: int, lengths: range, device: torch.device) -> None:
        self._size, self._first = size, lengths.start
        self._scores = torch.full((sentences, size), _NEVER, device=device)
        self._scores[:, 0] = 0.0  # the others are copies of the first, whose tokens they shall not repeat
        self._tokens = torch.zeros(sentences, lengths.stop, size, dtype=torch.long, device=device)
        self._parents = torch.zeros_like(self._tokens)
        self._best = torch.full((sentences,), _NEVER, device=device)
        # The best finished hypothesis: its length, the beam that it continues, its last token.
        self._end = torch.zeros(sentences, 3, dtype=torch.long, device=device)
        self.finished = torch.zeros(sentences, dtype=torch.long, device=device)
        self.last = torch.zeros(sentences, size, dtype=torch.long, device=device)

    def extend(self, logits: Tensor, length: int, end: int, *, cut: bool) -> Tensor:
        """Make each sentence's best continuations by one token its beams; the rows that they continue.

        `logits`: (sentences * beams, vocabulary). `length`: of a hypothesis with the new token. `cut`: all end.
        """
        scores, beams, tokens = _candidates(logits, self._scores)
        ended = tokens == end if not cut else torch.ones_like(tokens, dtype=torch.bool)
        self._finish(scores[:, : self._size] / length, ended[:, : self._size], beams, tokens, length)
        self._scores, chosen = (scores + ended * _NEVER).topk(self._size)
        beams, self.last = beams.gather(1, chosen), tokens.gather(1, chosen)
        self._parents[:, length], self._tokens[:, length] = beams, self.last
        first = torch.arange(0, beams.numel(), self._size, device=beams.device)
        return (beams + first[:, None]).flatten()

    def _finish(self, scores: Tensor, ended: Tensor, beams: Tensor, tokens: Tensor, length: int) -> None:
        """Note the best of the hypotheses that have ended, where a sentence waits for one."""
        scores = scores.masked_fill(~ended, _NEVER)
        value, place = scores.max(1)
        better = (value > self._best) & (self.finished < self._size)
        self._best = torch.where(better, value, self._best)
        chosen = [part.gather(1, place[:, None]) for part in (beams, tokens)]
        found = torch.cat([torch.full_like(chosen[0], length), *chosen], 1)
        self._end = torch.where(better[:, None], found, self._end)
        self.finished += (scores > _NEVER).sum(1)

    def keep(self, sentences: Tensor) -> None:
        """Go on with these sentences alone."""
        for name in ("_scores", "_tokens", "_parents", "_best", "_end", "finished", "last"):
            setattr(self, name, getattr(self, name).index_select(0, sentences))

    def outputs(self, rows: Iterable[int]) -> Iterable[list[int]]:
        """The best finished hypothesis of each of the sentences `rows`."""
        tokens, parents, ends = (part.cpu().numpy() for part in (self._tokens, self._parents, self._end))
        for row in rows:
            length, beam, token = ends[row].tolist()
            output = [token] if length else []
            for place in range(length - 1, self._first - 1, -1):
                output.append(int(tokens[row, place, beam]))
                beam = parents[row, place, beam]
            yield output[::-1]


@torch.inference_mode()
def encoded(model: Any, sources: Sequence[Sequence[int]]) -> list[Tensor]:
    """The encoder's output of each source, (tokens, d_model); in smaller batches than search, with less padding."""
    memories: list[Tensor] = [torch.empty(0)] * len(sources)
    tokens = _ENCODED_TOKENS.get(model.device.type, _ENCODED_ELSEWHERE)
    for group in batch_indices([len(source) for source in sources], tokens):
        with attention(model.device):
            memory, _ = encode(model, [sources[i] for i in group])
        for row, index in enumerate(group):
            memories[index] = memory[row, : len(sources[index])]
    return memories


def unwritten(model: Any) -> Tensor | None:
    """Ids of tokens that a model never writes, or None: the padding with which Marian's decoder starts."""
    words = model.generation_config.bad_words_ids
    return None if words is None else torch.tensor([ids[0] for ids in words])


def _candidates(logits: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest continuations, best first: scores, beams and tokens, (sentences, twice as many as beams).

    One is enough for greedy search, and its score is compared with nothing.
    """
    sentences, size = scores.shape
    if size == 1:
        found, tokens = logits.max(1, keepdim=True)
        return found, torch.zeros_like(tokens), tokens
    vocabulary = logits.shape[1]
    sums = torch.log_softmax(logits, 1).view(sentences, size, vocabulary).add_(scores[:, :, None])
    found, places = sums.view(sentences, -1).topk(2 * size)
    return found, places // vocabulary, places % vocabulary


def _bytes(model: Any, length: int, search: Search) -> int:
    """What a source of so many tokens takes in a batch, roughly: an output seldom is twice as long."""
    config = model.config
    width, layers = config.d_model, config.decoder_layers
    past = 2 * layers * width * min(search.longest, 2 * length + 32)
    row = past + 3 * model.lm_head.weight.shape[0]
    source = length * (2 * layers * width + config.encoder_ffn_dim + 8 * width)
    return int(4 * (search.beam_size * row + source))


def memory_budget(device: torch.device) -> int:
    """Bytes that a batch may take."""
    if device.type != "cuda":
        return _CPU_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(_CUDA_SHARE * (free + idle))
