"""Search and scores of transformers models, with the settings that agree with CTranslate2's.

- Tokens that the engine does not have (Marian's pad, a trimmed vocabulary) are banned, and their probability goes to
  the others (`renormalize_logits`).
- CTranslate2's length penalty of 1 corresponds to `early_stopping=True`.
- After a language token the engine takes the end token only if it is the most likely one. Transformers has no such
  rule, so empty outputs are forbidden there on both sides.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from fmalloc_export.emit.emitter import Ids, Outputs, Problem

# Sentences per batch. Scoring holds the whole vocabulary at every position, search only at the last.
_SEARCHED = 64
_SCORED = 8


class _OnlyTargetTokens(LogitsProcessor):  # type: ignore[misc]
    """Gives no probability to tokens that may not be written."""

    def __init__(self, problem: Problem, size: int) -> None:
        self._forbidden = _forbidden(problem, size)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores: (sentences, vocabulary)."""
        del input_ids
        return scores.masked_fill(self._forbidden, -torch.inf)


@torch.inference_mode()
def search(model: Any, problem: Problem, beam_size: int) -> list[Ids]:
    """The best output of each source, without prefix and end token."""
    config = model.config
    outputs: list[Ids] = [()] * len(problem.sources)
    for group in _batches(problem.sources, _SEARCHED):
        sources, mask = _padded([problem.sources[i] for i in group], config.pad_token_id)
        generated = model.generate(
            input_ids=sources,
            attention_mask=mask,
            num_beams=beam_size,
            do_sample=False,
            early_stopping=True if beam_size > 1 else None,
            length_penalty=1.0 if beam_size > 1 else None,
            max_new_tokens=problem.longest,
            min_new_tokens=problem.shortest or None,
            forced_bos_token_id=problem.prefix[0] if problem.prefix else None,
            logits_processor=LogitsProcessorList([_OnlyTargetTokens(problem, _size(model))]),
            renormalize_logits=True,
        )
        for index, ids in zip(group, generated.tolist(), strict=True):
            output = ids[1 + len(problem.prefix) :]
            end = output.index(config.eos_token_id) if config.eos_token_id in output else problem.maximum_length
            outputs[index] = tuple(output[:end])
    return outputs


@torch.inference_mode()
def token_scores(model: Any, problem: Problem, pairs: Sequence[tuple[int, Ids]]) -> list[list[float]]:
    """Per output, the log-probability of each token, end token included, among the tokens that may be written.

    `pairs`: the index of a source, and an output for it.
    """
    config = model.config
    forbidden = _forbidden(problem, _size(model))
    scores: list[list[float]] = [[]] * len(pairs)
    for group in _batches([problem.sources[source] for source, _ in pairs], _SCORED):
        sources, mask = _padded([problem.sources[pairs[i][0]] for i in group], config.pad_token_id)
        targets = [(*problem.prefix, *pairs[i][1], config.eos_token_id) for i in group]
        inputs, _ = _padded([(config.decoder_start_token_id, *ids[:-1]) for ids in targets], config.pad_token_id)
        logits = model(input_ids=sources, attention_mask=mask, decoder_input_ids=inputs).logits
        log_probs = torch.log_softmax(logits.masked_fill(forbidden, -torch.inf), dim=-1)
        for row, index in enumerate(group):
            ids = torch.tensor(targets[row])
            chosen = log_probs[row, : len(ids)].gather(-1, ids[:, None])
            scores[index] = chosen.flatten().tolist()
    return scores


def outputs(name: str, model: Any, problem: Problem, beam_size: int) -> Outputs:
    """The outputs of a transformers model."""
    return Outputs(
        name=name,
        greedy=search(model, problem, 1),
        beam=search(model, problem, beam_size),
        score=lambda pairs: token_scores(model, problem, pairs),
    )


def _size(model: Any) -> int:
    return int(model.get_output_embeddings().weight.shape[0])


def _forbidden(problem: Problem, size: int) -> torch.Tensor:
    forbidden = torch.ones(size, dtype=torch.bool)
    forbidden[torch.from_numpy(problem.target_tokens)] = False
    return forbidden


def _batches(sources: Sequence[Ids], size: int) -> Iterator[list[int]]:
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]))
    return (order[start : start + size] for start in range(0, len(order), size))


def _padded(rows: Sequence[Ids], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[pad] * (length - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return ids, mask
