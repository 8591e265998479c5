"""Parity of tokens and scores: masked = sliced model in PyTorch, compiled model in PyTorch = emitted float32 model.

At -O0 the compiled model is the masked one, so all four must agree. At -O1 and -O2 the passes that change translations
lie between the two comparisons; quality.py measures their cost, against an emitted -O0 model that must agree too. At
-O3 the masked model is the student as it was distilled, and the -O0 model its teacher's.

Two searches over the same function can differ where two hypotheses tie up to the last bits. So one sentence in a
hundred may differ; both models score both outputs, and all scores must agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmalloc_export.checks.reference import outputs as pytorch
from fmalloc_export.checks.sentences import Sentences
from fmalloc_export.domain.vocabulary import Vocabulary
from fmalloc_export.emit.emitter import Emitter, Ids, Outputs, Problem
from fmalloc_runtime.bundle.bundle import Identical, Parity
from fmalloc_shared.errors import FmallocError

TOLERANCE = 1e-4
BEAM_SIZE = 4
_NEW_TOKENS = 64


@dataclass(frozen=True)
class ComparedModels:
    """Three transformers models, and the folder of the emitted float32 model.

    `compiled`: with the cells that the passes left; None if they changed nothing beyond the mask. `learned`: folder of
    another emitted float32 model, at -O0, and `teacher` the model that it is of if that is not the masked one: then
    masked and sliced are a student's.
    """

    masked: Any
    sliced: Any
    compiled: Any | None
    emitted: Path
    learned: Path | None = None
    teacher: Any | None = None


@dataclass(frozen=True)
class ParityReport:
    """`parity` for the manifest, and the largest difference of log-probabilities (mean over an output's tokens).

    The latter depends on the machine, so it is not in the manifest.
    """

    parity: Parity
    largest_difference: float


def check(
    models: ComparedModels,
    emitter: Emitter,
    vocabulary: Vocabulary,
    target_tokens: NDArray[np.int64],
    sentences: Sentences,
    target_prefix: Sequence[str],
    maximum_length: int,
    beam_size: int | None = None,
) -> ParityReport:
    """Compare the models; FmallocError if they differ. `target_tokens`: those that the emitted model can write.

    `beam_size`: the bundle's own; where it has none, or searches greedily, which is compared in any case, 4.
    """
    beam = beam_size if beam_size is not None and beam_size > 1 else BEAM_SIZE
    whole = problem_of(sentences, vocabulary, vocabulary.writable, target_prefix, maximum_length)
    trimmed = replace(whole, target_tokens=target_tokens)
    masked = pytorch("masked PyTorch", models.masked, whole, beam)
    sliced, sliced_difference = _compare(masked, pytorch("sliced PyTorch", models.sliced, whole, beam))
    compiled = masked
    if models.learned is not None:
        taught = masked if models.teacher is None else pytorch("learned PyTorch", models.teacher, whole, beam)
        _compare(taught, emitter.outputs(models.learned, whole, vocabulary, beam))
    if models.compiled is not None:
        compiled = pytorch("compiled PyTorch", models.compiled, trimmed, beam)
    found = emitter.outputs(models.emitted, trimmed, vocabulary, beam)
    emitted, emitted_difference = _compare(compiled, found)
    return ParityReport(
        Parity(
            real_sentences=sentences.real,
            random_sentences=sentences.random,
            tolerance=TOLERANCE,
            identical=Identical(
                sliced_greedy=sliced[0], sliced_beam=sliced[1], emitted_greedy=emitted[0], emitted_beam=emitted[1]
            ),
        ),
        largest_difference=max(sliced_difference, emitted_difference),
    )


def problem_of(
    sentences: Sentences,
    vocabulary: Vocabulary,
    target_tokens: NDArray[np.int64],
    target_prefix: Sequence[str],
    maximum_length: int,
) -> Problem:
    """The sentences as ids of the base model."""
    ids = {token: index for index, token in enumerate(vocabulary.source)}
    unknown = ids[vocabulary.unknown]
    return Problem(
        sources=tuple(tuple(ids.get(token, unknown) for token in tokens) for tokens in sentences.tokens),
        prefix=tuple(vocabulary.target.index(token) for token in target_prefix),
        target_tokens=target_tokens,
        # Scoring an output needs one position more than finding it: for the end token after it.
        maximum_length=min(_NEW_TOKENS, maximum_length - len(target_prefix) - 1),
    )


def _compare(expected: Outputs, found: Outputs) -> tuple[tuple[int, int], float]:
    """Numbers of identical outputs of greedy and of beam search, and the largest difference of scores."""
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
        # Not `>`: NaN must fail.
        if not difference <= TOLERANCE:
            raise FmallocError(
                f"{found.name} model: log-probabilities differ from {expected.name} by {difference:.3g} per token in "
                f"sentence {source}, expected at most {TOLERANCE:g}: nothing was written"
            )
        largest = max(largest, difference)
    return largest
