"""Masked PyTorch model = sliced PyTorch model = emitted float32 model: the same tokens, the same scores.

Two searches over the same function can part where two hypotheses tie to the last bits. So a few sentences may differ
(one in a hundred), but then both outputs are scored by both models, and every score has to agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np

from fmalloc_export import reference
from fmalloc_export.reference import Ids, Problem
from fmalloc_export.sentences import Sentences
from fmalloc_export.vocabulary import Vocabulary
from fmalloc_runtime.bundle import Identical, Parity
from fmalloc_shared.errors import FmallocError

TOLERANCE = 1e-4
_BEAM_SIZE = 4
_NEW_TOKENS = 64
_BATCH_TOKENS = 2048

Scorer = Callable[[Sequence[tuple[int, Ids]]], list[list[float]]]


@dataclass(frozen=True)
class Outputs:
    """What one model makes of every sentence, and how it scores outputs."""

    name: str
    greedy: list[Ids]
    beam: list[Ids]
    score: Scorer


@dataclass(frozen=True)
class Report:
    """`parity` as the manifest has it, and the largest difference of log-probabilities (mean over an output's tokens).

    The latter varies by machine, so that it stays out of the manifest.
    """

    parity: Parity
    largest_difference: float


def check(
    masked: Any,
    sliced: Any,
    emitted: Path,
    vocabulary: Vocabulary,
    sentences: Sentences,
    target_prefix: Sequence[str],
    maximum_length: int,
) -> Report:
    """Compare two transformers models and the CTranslate2 model in `emitted`; FmallocError if they differ."""
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    problem = Problem(
        sources=tuple(tuple(ids.get(t, ids[vocabulary.unknown]) for t in tokens) for tokens in sentences.tokens),
        prefix=tuple(ids[token] for token in target_prefix),
        # Scoring an output takes a position more than finding it: its end token stands behind it.
        maximum_length=min(_NEW_TOKENS, maximum_length - len(target_prefix) - 1),
    )
    expected = _pytorch("masked PyTorch", masked, problem, vocabulary)
    found = _pytorch("sliced PyTorch", sliced, problem, vocabulary), _ctranslate2(emitted, problem, vocabulary)
    counts, differences = zip(*(_compare(expected, outputs) for outputs in found), strict=True)
    return Report(
        Parity(
            real_sentences=sentences.real,
            random_sentences=sentences.random,
            tolerance=TOLERANCE,
            identical=Identical(
                sliced_greedy=counts[0][0],
                sliced_beam=counts[0][1],
                emitted_greedy=counts[1][0],
                emitted_beam=counts[1][1],
            ),
        ),
        largest_difference=max(differences),
    )


def _compare(expected: Outputs, found: Outputs) -> tuple[tuple[int, int], float]:
    """Identical outputs of greedy and beam search, and the largest difference of an output's scores."""
    searches = (("greedy", expected.greedy, found.greedy), ("beam", expected.beam, found.beam))
    pairs = {pair for _, wanted, got in searches for outputs in (wanted, got) for pair in enumerate(outputs)}
    largest = _largest_difference(expected, found, sorted(pairs))
    counts = []
    for search, wanted, got in searches:
        differing = [index for index, output in enumerate(wanted) if output != got[index]]
        if len(differing) > max(1, len(wanted) // 100):
            raise FmallocError(
                f"{found.name} model: {search} search gives other tokens than {expected.name} in {len(differing)} "
                f"of {len(wanted)} sentences (first: {differing[0]}): nothing was written"
            )
        counts.append(len(wanted) - len(differing))
    return (counts[0], counts[1]), largest


def _largest_difference(expected: Outputs, found: Outputs, pairs: Sequence[tuple[int, Ids]]) -> float:
    largest = 0.0
    for (source, _), wanted, got in zip(pairs, expected.score(pairs), found.score(pairs), strict=True):
        difference = float(np.abs(np.subtract(wanted, got)).mean())
        # Not `>`: a NaN has to fail.
        if not difference <= TOLERANCE:
            raise FmallocError(
                f"{found.name} model: log-probabilities differ from {expected.name} by {difference:.3g} a token in "
                f"sentence {source}, expected at most {TOLERANCE:g}: nothing was written"
            )
        largest = max(largest, difference)
    return largest


def _pytorch(name: str, model: Any, problem: Problem, vocabulary: Vocabulary) -> Outputs:
    return Outputs(
        name=name,
        greedy=reference.search(model, problem, 1),
        beam=reference.search(model, problem, _BEAM_SIZE),
        score=lambda pairs: reference.token_scores(model, problem, pairs, len(vocabulary.tokens)),
    )


def _ctranslate2(directory: Path, problem: Problem, vocabulary: Vocabulary) -> Outputs:
    # One thread: the result then depends on no core count, and a busy machine does not spin in OpenMP barriers.
    translator = ctranslate2.Translator(str(directory), device="cpu", compute_type="float32", intra_threads=1)
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    sources = [[vocabulary.tokens[i] for i in source] for source in problem.sources]
    prefix = [vocabulary.tokens[i] for i in problem.prefix]

    def search(beam_size: int) -> list[Ids]:
        results = translator.translate_batch(
            sources,
            target_prefix=[prefix] * len(sources) if prefix else None,
            max_batch_size=_BATCH_TOKENS,
            batch_type="tokens",
            beam_size=beam_size,
            length_penalty=1.0,
            max_decoding_length=problem.longest,
            min_decoding_length=problem.shortest,
            max_input_length=0,
        )
        return [tuple(ids[token] for token in result.hypotheses[0][len(prefix) :]) for result in results]

    def score(pairs: Sequence[tuple[int, Ids]]) -> list[list[float]]:
        scored = translator.score_batch(
            [sources[source] for source, _ in pairs],
            [[*prefix, *(vocabulary.tokens[i] for i in output)] for _, output in pairs],
            max_batch_size=_BATCH_TOKENS,
            batch_type="tokens",
            max_input_length=0,
        )
        return [list(result.log_probs) for result in scored]

    return Outputs("emitted", search(1), search(_BEAM_SIZE), score)
