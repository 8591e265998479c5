"""Search and scores of transformers models, with the settings that agree with CTranslate2's.

- Tokens that the engine does not have (Marian's pad, a trimmed vocabulary) are banned, and their probability goes to
  the others.
- After a language token the engine takes the end token only if it is the most likely one. Our search has no such rule,
  so empty outputs are forbidden there on both sides.

The search runs transformers' modules token by token, scores come from transformers' own pass over a whole output.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from fmalloc.evaluation.search import Search, encoded
from fmalloc.model.decoding import mask_of
from fmalloc_export.emit.emitter import Ids, Outputs, Problem

# Outputs per batch: scoring holds the whole vocabulary at every position.
_SCORED = 8


def outputs(name: str, model: Any, problem: Problem, beam_size: int) -> Outputs:
    """The outputs of a transformers model, which reads each source once, and scores each pair once."""
    memories = encoded(model, problem.sources)
    known: dict[tuple[int, Ids], list[float]] = {}

    def score(pairs: Sequence[tuple[int, Ids]]) -> list[list[float]]:
        new = [pair for pair in dict.fromkeys(pairs) if pair not in known]
        known.update(zip(new, _token_scores(model, problem, memories, new), strict=True))
        return [known[pair] for pair in pairs]

    greedy, beam = (_search(model, problem, memories, size) for size in (1, beam_size))
    return Outputs(name, greedy, beam, score)


def _search(model: Any, problem: Problem, memories: Sequence[torch.Tensor], beam_size: int) -> list[Ids]:
    """The best output of each source, without prefix and end token."""
    config = model.config
    found = Search(
        beam_size,
        (config.decoder_start_token_id, *problem.prefix),
        longest=problem.longest,
        shortest=problem.shortest,
        forbidden=_forbidden(problem, _size(model)).nonzero().flatten(),
    ).run(model, problem.sources, memories=memories)
    return [tuple(ids[:-1] if ids[-1:] == [config.eos_token_id] else ids) for ids in found]


@torch.inference_mode()
def _token_scores(
    model: Any, problem: Problem, memories: Sequence[torch.Tensor], pairs: Sequence[tuple[int, Ids]]
) -> list[list[float]]:
    """Per output, the log-probability of each token, end token included, among the tokens that may be written.

    `pairs`: the index of a source, and an output for it.
    """
    config = model.config
    forbidden = _forbidden(problem, _size(model))
    scores: list[list[float]] = [[]] * len(pairs)
    for group in _batches([output for _, output in pairs], _SCORED):
        read = [memories[pairs[i][0]] for i in group]
        targets = [(*problem.prefix, *pairs[i][1], config.eos_token_id) for i in group]
        logits = model(
            input_ids=_padded([problem.sources[pairs[i][0]] for i in group], config),  # FSMT takes no targets alone
            encoder_outputs=(pad_sequence(read, batch_first=True),),
            attention_mask=mask_of([len(memory) for memory in read], model.device),
            decoder_input_ids=_padded([(config.decoder_start_token_id, *ids[:-1]) for ids in targets], config),
        ).logits
        log_probs = torch.log_softmax(logits.masked_fill(forbidden, -torch.inf), dim=-1)
        for row, index in enumerate(group):
            ids = torch.tensor(targets[row])
            chosen = log_probs[row, : len(ids)].gather(-1, ids[:, None])
            scores[index] = chosen.flatten().tolist()
    return scores


def _size(model: Any) -> int:
    return int(model.get_output_embeddings().weight.shape[0])


def _forbidden(problem: Problem, size: int) -> torch.Tensor:
    forbidden = torch.ones(size, dtype=torch.bool)
    forbidden[torch.from_numpy(problem.target_tokens)] = False
    return forbidden


def _batches(rows: Sequence[Ids], size: int) -> Iterator[list[int]]:
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    return (order[start : start + size] for start in range(0, len(order), size))


def _padded(rows: Sequence[Ids], config: Any) -> torch.Tensor:
    length = max(len(row) for row in rows)
    return torch.tensor([[*row, *[config.pad_token_id] * (length - len(row))] for row in rows])
