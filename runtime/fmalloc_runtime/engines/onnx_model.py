"""An emitted ONNX model in ONNX Runtime: sources in, logits out, caches kept on the device."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fmalloc_runtime.engines.beam import Floats, Integers
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.strict import StrictModel

VOCABULARY_FILE = "vocabulary.json"
_ENCODER, _DECODER, _GATHER = "encoder_model.onnx", "decoder_with_past_model.onnx", "cache_gather.onnx"
# An output of the decoder; bundles of earlier exporters lack it.
ATTENTION = "alignment"
_DATA_SUFFIX = ".onnx_data"
# Prefix of operators that quantize a whole batch with one scale.
_BATCH_SCALED = b"DynamicQuantize"
_FLOAT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OnnxVocabulary(StrictModel):
    """`vocabulary.json`: tokens by id; `target` is null if it equals `source`.

    `start`: the decoder's first id, which may be beyond the target tokens. `unknown`: the token for unknown sources.
    """

    version: Literal[1] = 1
    source: tuple[str, ...]
    target: tuple[str, ...] | None
    start: Annotated[int, Field(ge=0)]
    end: str
    unknown: str

    @property
    def target_tokens(self) -> tuple[str, ...]:
        """Target tokens by id."""
        return self.source if self.target is None else self.target


class OnnxModel:
    """The exported graphs and their vocabulary; see OnnxEngine for the parameters."""

    def __init__(self, model: Path, device: str, intra_threads: int, files: Mapping[str, bytes] | None = None) -> None:
        self._runtime = import_onnxruntime()
        self.device = self._device(device)
        self.vocabulary = (
            OnnxVocabulary.read(model / VOCABULARY_FILE)
            if files is None
            else OnnxVocabulary.parse(_content(files, VOCABULARY_FILE, model), str(model / VOCABULARY_FILE))
        )
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = intra_threads
        options.log_severity_level = 3
        if files is not None:
            data = {name: content for name, content in files.items() if name.endswith(_DATA_SUFFIX)}
            sizes = [len(content) for content in data.values()]
            options.add_external_initializers_from_files_in_memory(list(data), list(data.values()), sizes)
        self.encoder, self.decoder, self.gather = (
            self._session(model, name, options, files) for name in (_ENCODER, _DECODER, _GATHER)
        )
        self.independent = all(_BATCH_SCALED not in self._graph(model, name, files) for name in (_ENCODER, _DECODER))
        self.caches = [value.name for value in self.decoder.get_inputs() if ".decoder." in value.name]
        first = next(value for value in self.decoder.get_inputs() if value.name == self.caches[0])
        self.float_type = _FLOAT_TYPES[first.type]
        self.heads, self.head_size = first.shape[1], first.shape[3]
        self.has_attention = any(value.name == ATTENTION for value in self.decoder.get_outputs())

    def encode(self, sources: Sequence[Sequence[int]], *, attention: bool = False) -> "OnnxDecoder":
        """Run the encoder over ids of source tokens: a decoder with one empty hypothesis per sentence.

        `attention`: whether to keep attention, if the model provides it.
        """
        length = max(map(len, sources))
        ids = np.zeros((len(sources), length), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, source in enumerate(sources):
            ids[row, : len(source)] = source
            mask[row, : len(source)] = 1
        binding = self.encoder.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("attention_mask", mask)
        names = [name.replace("past_key_values", "present").replace("decoder", "encoder") for name in self.caches]
        caches = self.run(self.encoder, binding, names)
        return OnnxDecoder(self, mask, caches, attention and self.has_attention)

    def run(self, session: Any, binding: Any, names: Sequence[str]) -> list[Any]:
        """Run with bound inputs: the outputs `names`, on the device."""
        for name in names:
            binding.bind_output(name, self.device)
        session.run_with_iobinding(binding)
        outputs: list[Any] = binding.get_outputs()[-len(names) :]
        return outputs

    def rows(self, caches: Sequence[Any], rows: Integers) -> list[Any]:
        """Rows of each cache."""
        binding = self.gather.io_binding()
        binding.bind_cpu_input("rows", rows)
        for index, cache in enumerate(caches):
            binding.bind_ortvalue_input(f"cache.{index}", cache)
        return self.run(self.gather, binding, [f"selected.{index}" for index in range(len(caches))])

    def empty_caches(self, rows: int) -> list[Any]:
        """Caches without tokens."""
        empty = np.zeros((rows, self.heads, 0, self.head_size), dtype=self.float_type)
        return [self._runtime.OrtValue.ortvalue_from_numpy(empty, self.device, 0) for _ in self.caches]

    def _device(self, device: str) -> str:
        available = "CUDAExecutionProvider" in self._runtime.get_available_providers()
        if device not in ("auto", "cpu", "cuda"):
            raise FmallocError(f"device {device!r}, expected auto, cpu or cuda")
        if device == "auto":
            return "cuda" if available else "cpu"
        if device == "cuda" and not available:
            raise FmallocError("ONNX Runtime here cannot use CUDA: pip install 'fmalloc[onnx-gpu]' instead of [onnx]")
        return device

    @staticmethod
    def _graph(model: Path, name: str, files: Mapping[str, bytes] | None) -> bytes:
        return (model / name).read_bytes() if files is None else _content(files, name, model)

    def _session(self, model: Path, name: str, options: Any, files: Mapping[str, bytes] | None) -> Any:
        providers = ["CUDAExecutionProvider"] if self.device == "cuda" else []
        source = str(model / name) if files is None else _content(files, name, model)
        try:
            session = self._runtime.InferenceSession(source, options, providers=[*providers, "CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common class
            raise FmallocError(f"{model / name}: ONNX Runtime cannot load it on {self.device}: {error}") from error
        if self.device == "cuda" and session.get_providers()[0] != providers[0]:
            raise FmallocError(f"{model / name}: ONNX Runtime cannot use CUDA: are CUDA and cuDNN installed?")
        return session


class OnnxDecoder:
    """A batch during decoding; see fmalloc_runtime.engines.beam.Decoder."""

    def __init__(self, model: OnnxModel, mask: NDArray[np.int64], cross: list[Any], attention: bool) -> None:
        self._model = model
        self._mask, self._cross = mask, cross
        self._caches = model.empty_caches(len(mask))
        self._logits = np.empty(0, dtype=np.float32)
        # (hypotheses, tokens, source tokens with padding)
        self._attention = np.zeros((len(mask), 0, mask.shape[1]), dtype=np.float32) if attention else None
        self._binding = model.decoder.io_binding()
        self._bind_sentences()

    def advance(self, ids: Integers) -> Floats:
        """Append tokens `ids` (rows, tokens): logits (rows, tokens, vocabulary), valid until the next call."""
        model, binding = self._model, self._binding
        # Binding an output anew drops the previous one, which is an input here, so inputs are bound first.
        binding.bind_cpu_input("input_ids", np.ascontiguousarray(ids))
        for name, cache in zip(model.caches, self._caches, strict=True):
            binding.bind_ortvalue_input(name, cache)
        shape = (*ids.shape, len(model.vocabulary.target_tokens))
        size = math.prod(shape)
        if self._logits.size < size:
            self._logits = np.empty(size, dtype=np.float32)
        binding.bind_output("logits", "cpu", 0, np.float32, shape, self._logits.ctypes.data)
        attended = None
        if self._attention is not None:
            attended = np.empty((*ids.shape, self._mask.shape[1]), dtype=np.float32)
            binding.bind_output(ATTENTION, "cpu", 0, np.float32, attended.shape, attended.ctypes.data)
        names = [name.replace("past_key_values", "present") for name in model.caches]
        self._caches = model.run(model.decoder, binding, names)
        if self._attention is not None and attended is not None:
            self._attention = np.concatenate([self._attention, attended], axis=1)
        return self._logits[:size].reshape(shape)

    def select(self, rows: Integers, sentences: Integers | None) -> None:
        """Continue with these rows, and with these sentences only, unless None."""
        if not np.array_equal(rows, np.arange(self._caches[0].shape()[0])):
            self._caches = self._model.rows(self._caches, rows)
            if self._attention is not None:
                self._attention = self._attention[rows]
        if sentences is not None:
            self._mask = self._mask[sentences]
            self._cross = self._model.rows(self._cross, sentences)
            self._bind_sentences()

    def attention(self, row: int) -> Floats | None:
        """Attention of this hypothesis, (tokens, source tokens); None if it is not kept."""
        if self._attention is None:
            return None
        mask = self._mask[row * len(self._mask) // len(self._attention)]
        return self._attention[row, :, : mask.sum()].copy()

    def _bind_sentences(self) -> None:
        self._binding.bind_cpu_input("encoder_attention_mask", self._mask)
        for name, cache in zip(self._model.caches, self._cross, strict=True):
            self._binding.bind_ortvalue_input(name.replace("decoder", "encoder"), cache)


def import_onnxruntime() -> Any:
    """The module onnxruntime; FmallocError if it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise FmallocError(f"ONNX Runtime cannot be imported ({error}): pip install 'fmalloc[onnx]'") from error
    return onnxruntime


def _content(files: Mapping[str, bytes], name: str, model: Path) -> bytes:
    if name not in files:
        raise FmallocError(f"{model / name}: missing, but an ONNX model needs it")
    return files[name]
