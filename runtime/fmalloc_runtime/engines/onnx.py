"""The ONNX Runtime engine, on CPU or CUDA."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import BoundedSemaphore

import numpy as np

from fmalloc_runtime.engines.base import BATCH_TOKENS, Hypothesis, Mixing, TranslationOptions
from fmalloc_runtime.engines.beam import BeamOutput, BeamSearch, Floats, Integers
from fmalloc_runtime.engines.onnx_model import VOCABULARY_FILE, OnnxModel, import_onnxruntime
from fmalloc_runtime.errors import EngineError
from fmalloc_shared.errors import FmallocError

# Most logits per step of a batch: bounds memory for large vocabularies.
_BATCH_LOGITS = 1 << 25


class OnnxEngine:
    """Runs the models that `fmalloc export` writes for ONNX Runtime; see CTranslate2Engine for the parameters.

    Weights keep the type in which they were exported: `compute_type` is `default`.
    """

    def __init__(
        self,
        model: Path,
        device: str = "auto",
        compute_type: str = "default",
        intra_threads: int = 0,
        inter_threads: int = 1,
        *,
        maximum_length: int = 512,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        if compute_type != "default":
            raise FmallocError(
                f"{model}: compute type {compute_type!r}: an ONNX model keeps the type in which it was exported, "
                "expected 'default'"
            )
        self._path = model
        self._model = OnnxModel(model, device, intra_threads, files)
        self.device = self._model.device
        self.mixing: Mixing = "any" if self._model.independent else "none"
        self._maximum_length = maximum_length
        self._free = BoundedSemaphore(inter_threads)
        vocabulary = self._model.vocabulary
        self._source_ids = {token: index for index, token in enumerate(vocabulary.source)}
        self._target_ids = {token: index for index, token in enumerate(vocabulary.target_tokens)}
        for token, ids in ((vocabulary.unknown, self._source_ids), (vocabulary.end, self._target_ids)):
            if token not in ids:
                raise FmallocError(f"{model / VOCABULARY_FILE}: {token!r} is not in the vocabulary")

    def translate(
        self, sources: Sequence[Sequence[str]], target_prefix: Sequence[str], options: TranslationOptions
    ) -> list[tuple[Hypothesis, ...]]:
        """The best hypotheses of each source; see Engine."""
        if unknown := [token for token in target_prefix if token not in self._target_ids]:
            raise EngineError(f"{self._path}: target prefix {unknown[0]!r} is not in the vocabulary")
        vocabulary = self._model.vocabulary
        prompt = (vocabulary.start, *(self._target_ids[token] for token in target_prefix))
        # The prefix counts, as for CTranslate2.
        longest = min((options.max_length or self._maximum_length) + len(target_prefix), self._maximum_length)
        search = BeamSearch(
            beam_size=options.beam,
            end=self._target_ids[vocabulary.end],
            longest=longest - len(target_prefix),
            length_penalty=options.length_penalty,
            hypotheses=options.hypotheses,
        )
        unknown_id = self._source_ids[vocabulary.unknown]
        encoded = [[self._source_ids.get(token, unknown_id) for token in source] for source in sources]
        try:
            with self._free:
                outputs = search_batches(self._model, encoded, prompt, search, attention=options.attention)
        except Exception as error:  # ONNX Runtime's exceptions have no common class
            raise EngineError(f"{self._path}: ONNX Runtime failed: {error}") from error
        tokens = vocabulary.target_tokens
        return [
            tuple(Hypothesis(tuple(tokens[i] for i in output.ids), output.score, output.attention) for output in found)
            for found in outputs
        ]

    def score(
        self, sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]], target_prefix: Sequence[str]
    ) -> list[float]:
        """Log-probability of each target per token, one at a time; see Engine."""
        vocabulary = self._model.vocabulary
        unknown, end = self._target_ids.get(vocabulary.unknown, 0), self._target_ids[vocabulary.end]
        found = []
        try:
            with self._free:
                for source, target in zip(sources, targets, strict=True):
                    wanted = [self._target_ids.get(token, unknown) for token in (*target_prefix, *target)] + [end]
                    read = [self._source_ids.get(token, self._source_ids[vocabulary.unknown]) for token in source]
                    decoder = self._model.encode([read])
                    logits = decoder.advance(np.array([[vocabulary.start, *wanted[:-1]]]))[0, len(target_prefix) :]
                    found.append(mean_log_probability(logits, np.array(wanted[len(target_prefix) :])))
        except Exception as error:  # ONNX Runtime's exceptions have no common class
            raise EngineError(f"{self._path}: ONNX Runtime failed: {error}") from error
        return found


def mean_log_probability(logits: Floats, ids: Integers) -> float:
    """Of the ids (tokens,) under the logits (tokens, vocabulary), in nats per token."""
    peaks = logits.max(axis=1)
    totals = peaks + np.log(np.exp(logits - peaks[:, None]).sum(axis=1))
    return float((logits[np.arange(len(ids)), ids] - totals).mean())


def search_batches(
    model: OnnxModel,
    sources: Sequence[Sequence[int]],
    prompt: tuple[int, ...],
    search: BeamSearch,
    *,
    attention: bool = False,
) -> list[list[BeamOutput]]:
    """The outputs of each source as ids, best first; sources of similar length share batches."""
    outputs: list[list[BeamOutput]] = [[] for _ in sources]
    rows = _BATCH_LOGITS // (search.beam_size * len(model.vocabulary.target_tokens))
    for batch in _batches([len(source) for source in sources], max(rows, 1)):
        decoder = model.encode([sources[index] for index in batch], attention=attention)
        for index, output in zip(batch, search.run(decoder, prompt, len(batch)), strict=True):
            outputs[index] = output
    return outputs


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Batches of indices of sources, longest first: at most `most` sources and BATCH_TOKENS tokens each."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while order:
        size = min(most, max(BATCH_TOKENS // max(lengths[order[0]], 1), 1))
        yield order[:size]
        order = order[size:]


def onnxruntime_version() -> str:
    """The installed ONNX Runtime's version."""
    return str(import_onnxruntime().__version__)
