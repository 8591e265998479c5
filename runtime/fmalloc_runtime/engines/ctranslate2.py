"""The default engine: CTranslate2, on a CPU or on CUDA."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fmalloc_runtime.engines.base import BATCH_TOKENS, Hypothesis, Mixing, TranslationOptions
from fmalloc_runtime.errors import EngineError
from fmalloc_shared.errors import FmallocError

# CTranslate2 fills missing hypotheses with scores of -1e10 over the length.
_IMPOSSIBLE = -1e6


class CTranslate2Engine:
    """The default engine, on CPU or CUDA.

    `device`: `auto` is CUDA if CTranslate2 finds a device.
    `compute_type`: `default` keeps the type of the weights.
    `intra_threads`: CPU threads per batch (0: the engine's choice).
    `inter_threads`: batches at once.
    `maximum_length`: tokens that the model has positions for, the longest output.
    `files`: the content of the files in `model` by name, to be used instead of `model`.
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
            with _readable(model, files) as (path, content):
                self._translator: Any = ctranslate2.Translator(
                    str(path),
                    device=device,
                    compute_type=compute_type,
                    intra_threads=intra_threads,
                    inter_threads=inter_threads,
                    files=content,
                )
        except (RuntimeError, ValueError) as error:
            raise FmallocError(f"{model}: CTranslate2 cannot load it on {device}: {error}") from error
        # On a GPU the size of a batch also changes the last bits, and only batches of one sentence would help.
        integers = self._translator.compute_type.startswith("int")
        self.mixing: Mixing = "equal" if integers and device == "cpu" else "any"

    def translate(
        self, sources: Sequence[Sequence[str]], target_prefix: Sequence[str], options: TranslationOptions
    ) -> list[tuple[Hypothesis, ...]]:
        """The best hypotheses of each source; see Engine."""
        if not sources:
            return []
        prefix = list(target_prefix)
        longest = (options.max_length or self._maximum_length) + len(prefix)  # the engine counts the prefix, too
        results = self._search(
            sources,
            target_prefix=[prefix] * len(sources) if prefix else None,
            beam_size=options.beam,
            length_penalty=options.length_penalty,
            max_decoding_length=min(longest, self._maximum_length),
            min_decoding_length=0,
            num_hypotheses=options.hypotheses,
            return_scores=True,
            return_attention=options.attention,
        )
        found = [_hypotheses(result, len(prefix), len(source)) for result, source in zip(results, sources, strict=True)]
        if options.attention and options.beam > 1 and not prefix and self.device == "cpu":
            self._mend_first_rows(sources, found, fast=options.fast_attention)
        return found

    def score(
        self, sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]], target_prefix: Sequence[str]
    ) -> list[float]:
        """Log-probability of each target per token; see Engine."""
        try:
            results = self._translator.score_batch(
                [list(source) for source in sources],
                [[*target_prefix, *target] for target in targets],
                max_batch_size=BATCH_TOKENS,
                batch_type="tokens",
                max_input_length=0,
            )
        except RuntimeError as error:
            raise EngineError(f"{self._model}: CTranslate2 failed: {error}") from error
        scored = (result.log_probs[len(target_prefix) :] for result in results)
        return [float(sum(found)) / len(found) for found in scored]

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

    def _mend_first_rows(
        self, sources: Sequence[Sequence[str]], found: Sequence[tuple[Hypothesis, ...]], *, fast: bool
    ) -> None:
        """Replace the attention of first tokens, which is the same for all hypotheses of a source, by greedy search's.

        CTranslate2's beam search (4.8.5, on a CPU, without a prefix) returns that of another source of the batch.
        `fast`: by zeros.
        """
        if fast:
            for hypothesis in (one for hypotheses in found for one in hypotheses):
                if hypothesis.attention is not None:
                    hypothesis.attention[:1] = 0
            return
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


@contextmanager
def _readable(model: Path, files: Mapping[str, bytes] | None) -> Iterator[tuple[Path, dict[str, bytes] | None]]:
    """A folder to load, and files to load instead where nothing can be written.

    CTranslate2 keeps a copy of such files for as long as it has the model, which doubles its memory.
    """
    if files is None:
        yield model, None
        return
    with ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fmalloc-")))
            for name, content in files.items():
                (folder / name).write_bytes(content)
        except OSError:
            yield model, dict(files)
            return
        yield folder, None


def _import_ctranslate2() -> Any:
    try:
        import ctranslate2
    except ImportError as error:
        raise FmallocError(f"CTranslate2 cannot be imported ({error}): pip install 'ctranslate2>=4.8.2'") from error
    return ctranslate2
