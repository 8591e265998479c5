"""What turns source tokens into target tokens: the one interface that the rest of the runtime knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fmalloc_runtime.errors import EngineError
from fmalloc_shared.errors import FmallocError

# Padded tokens that one call of the model may hold: bounds memory whatever the number of sentences.
BATCH_TOKENS = 2048
# CTranslate2 fills its beams up with hypotheses of -1e10 (over the length) where there are no others.
_IMPOSSIBLE = -1e6


Mixing = Literal["any", "equal", "none"]


@dataclass(frozen=True)
class TranslationOptions:
    """How to search. The defaults agree with transformers' beam search with `early_stopping=True`.

    `max_length` bounds the output in tokens, end token included (None: as long as the model can).
    `length_penalty` is the exponent of the length that a hypothesis' log-probability is divided by.
    `hypotheses`: how many of each source are wanted, at most `beam_size`; `attention`: whether they carry it.
    """

    beam_size: int = 4
    max_length: int | None = None
    length_penalty: float = 1.0
    hypotheses: int = 1
    attention: bool = False

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise FmallocError(f"beam size {self.beam_size}: expected 1 or more")
        if not 1 <= self.hypotheses <= self.beam_size:
            raise FmallocError(f"{self.hypotheses} hypotheses: expected 1 to {self.beam_size}, the beam size")
        if self.max_length is not None and self.max_length < 1:
            raise FmallocError(f"maximum length {self.max_length}: expected 1 or more tokens")


@dataclass(frozen=True)
class Hypothesis:
    """An output of the model, without target prefix and end token.

    `score` is its log-probability in nats over its length to the power of the length penalty; it ranks
    hypotheses of one source and says nothing about quality. `attention`, where it was asked for and the model has it,
    is (tokens, source tokens): how much each token looked at each source token, rows adding up to 1.
    """

    tokens: tuple[str, ...]
    score: float
    attention: NDArray[np.float32] | None = field(default=None, compare=False)


class Engine(Protocol):
    """Translates tokens; safe to call from several threads at once.

    `mixing`: which sources can share a batch without changing each other's translations: any, those of equal length
    (padding changes the last bits of sums, which rounding to integers can turn into other words), or none.
    """

    device: str
    mixing: Mixing

    def translate(
        self, sources: Sequence[Sequence[str]], target_prefix: Sequence[str], options: TranslationOptions
    ) -> list[tuple[Hypothesis, ...]]:
        """The best hypotheses of each source, best first. Sources carry their own prefix and end token; none is cut."""
        ...


def translate_exactly(
    engine: Engine, sources: Sequence[Sequence[str]], target_prefix: Sequence[str], options: TranslationOptions
) -> list[tuple[Hypothesis, ...]]:
    """As Engine.translate, in as many calls as it takes for no source to change another's translation."""
    groups: dict[int, list[int]] = {}
    for position, source in enumerate(sources):
        key = {"any": 0, "equal": len(source), "none": position}[engine.mixing]
        groups.setdefault(key, []).append(position)
    found: list[tuple[Hypothesis, ...]] = [()] * len(sources)
    for positions in groups.values():
        batch = [sources[position] for position in positions]
        for position, hypotheses in zip(positions, engine.translate(batch, target_prefix, options), strict=True):
            found[position] = hypotheses
    return found


class CTranslate2Engine:
    """The default engine, on CPU or CUDA.

    `device`: `auto` takes CUDA where CTranslate2 finds it.
    `compute_type`: `default` keeps the weights' own type.
    `intra_threads`: CPU threads a translation (0: the engine's choice).
    `inter_threads`: translations at once.
    `maximum_length`: tokens that the model has positions for; no output grows longer.
    `files`: the content of the files in `model` by name; where it is given, `model` is not read.
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
        ctranslate2 = _import_ctranslate2()
        if device == "auto":
            device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        self.device = device
        self._model = model
        self._maximum_length = maximum_length
        try:
            self._translator: Any = ctranslate2.Translator(
                str(model),
                device=device,
                compute_type=compute_type,
                intra_threads=intra_threads,
                inter_threads=inter_threads,
                files=None if files is None else dict(files),
            )
        except (RuntimeError, ValueError) as error:
            raise FmallocError(f"{model}: CTranslate2 cannot load it on {device}: {error}") from error
        # On a GPU the size of a batch changes the last bits just as well, and nothing but batches of one would help.
        integers = self._translator.compute_type.startswith("int")
        self.mixing: Mixing = "equal" if integers and device == "cpu" else "any"

    def translate(
        self, sources: Sequence[Sequence[str]], target_prefix: Sequence[str], options: TranslationOptions
    ) -> list[tuple[Hypothesis, ...]]:
        """The best hypotheses of each source; see Engine."""
        if not sources:
            return []
        prefix = list(target_prefix)
        longest = (options.max_length or self._maximum_length) + len(prefix)  # the engine counts the prefix too
        results = self._search(
            sources,
            target_prefix=[prefix] * len(sources) if prefix else None,
            beam_size=options.beam_size,
            length_penalty=options.length_penalty,
            max_decoding_length=min(longest, self._maximum_length),
            min_decoding_length=0,
            num_hypotheses=options.hypotheses,
            return_scores=True,
            return_attention=options.attention,
        )
        found = [_hypotheses(result, len(prefix), len(source)) for result, source in zip(results, sources, strict=True)]
        if options.attention and options.beam_size > 1 and not prefix and self.device == "cpu":
            self._mend_first_rows(sources, found)
        return found

    def _search(self, sources: Sequence[Sequence[str]], **settings: Any) -> Any:
        try:
            return self._translator.translate_batch(
                [list(source) for source in sources],
                max_batch_size=BATCH_TOKENS,
                batch_type="tokens",
                max_input_length=0,
                **settings,
            )
        except RuntimeError as error:
            raise EngineError(f"{self._model}: CTranslate2 failed: {error}") from error

    def _mend_first_rows(self, sources: Sequence[Sequence[str]], found: Sequence[tuple[Hypothesis, ...]]) -> None:
        """Put in where first tokens looked: the same for all hypotheses of a source, and in greedy search.

        CTranslate2's beam search (4.8.5, on a CPU, without a prefix) gives that of another source of the batch.
        """
        results = self._search(
            sources, beam_size=1, max_decoding_length=1, min_decoding_length=1, return_attention=True
        )
        for result, hypotheses in zip(results, found, strict=True):
            for hypothesis in hypotheses:
                if hypothesis.attention is not None and hypothesis.tokens:
                    hypothesis.attention[0] = result.attention[0][0]


def _hypotheses(result: Any, prefix: int, source_tokens: int) -> tuple[Hypothesis, ...]:
    found = []
    for index, (tokens, score) in enumerate(zip(result.hypotheses, result.scores, strict=True)):
        if index and score < _IMPOSSIBLE:
            continue
        attention = None
        if result.attention:
            rows = result.attention[index][prefix : len(tokens)]
            attention = np.array(rows, dtype=np.float32).reshape(len(tokens) - prefix, source_tokens)
        found.append(Hypothesis(tuple(tokens[prefix:]), float(score), attention))
    return tuple(found)


def ctranslate2_version() -> str:
    """The installed CTranslate2's version."""
    return str(_import_ctranslate2().__version__)


def _import_ctranslate2() -> Any:
    try:
        import ctranslate2
    except ImportError as error:
        raise FmallocError(f"CTranslate2 cannot be imported ({error}): pip install 'ctranslate2>=4.8.2'") from error
    return ctranslate2
