"""The single file with the BeamSearch operator inside."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from fmalloc_export.emit.onnx.beam_search import SINGLE_FILE, emit_beam_search
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.engines.onnx import OnnxEngine
from fmalloc_shared.errors import FmallocError
from tests.support.bases import POSITIONS
from tests.support.onnx import emitted, load


@pytest.mark.parametrize("kind", ["marian-separate", "m2m100", "pegasus"])
@pytest.mark.parametrize("trimmed", [False, True])
def test_one_file_with_beam_search_inside_translates_as_the_engine_does(
    kind: str, tmp_path: Path, trimmed: bool
) -> None:
    domain = load(tmp_path, kind)
    vocabulary = domain.vocabulary
    found = emitted(domain, tmp_path / "model", trimmed=trimmed)
    prefix = found.target_prefix
    (tmp_path / "alone").mkdir()
    emit_beam_search(domain, found.model, tmp_path / "alone", "float32", prefix)
    session = onnxruntime.InferenceSession(str(tmp_path / "alone" / SINGLE_FILE))
    engine = OnnxEngine(found.directory, "cpu", intra_threads=1, maximum_length=POSITIONS)
    target = [vocabulary.target[i] for i in found.model.target_tokens]
    sources = found.sources(40)
    length = max(map(len, sources))
    inputs = {
        "input_ids": np.array([(*ids, *[0] * (length - len(ids))) for ids in sources], dtype=np.int32),
        "attention_mask": np.array([[1] * len(ids) + [0] * (length - len(ids)) for ids in sources], dtype=np.int32),
        "max_length": np.array([100], dtype=np.int32),
        "length_penalty": np.array([1], dtype=np.float32),
    }
    for beam_size in (1, 4):
        (sequences,) = session.run(None, {**inputs, "num_beams": np.array([beam_size], dtype=np.int32)})
        expected = engine.translate(found.source_tokens(40), prefix, TranslationOptions(beam_size, 99 - len(prefix)))
        compared = 0
        for sequence, (hypothesis,) in zip(sequences[:, 0].tolist(), expected, strict=True):
            # Beams that are cut off count one token more, and nothing is empty behind a prefix.
            if 0 < len(hypothesis.tokens) < (90 if beam_size > 1 else 100):
                tokens = [target[i] for i in sequence[1:]]
                end = tokens.index("</s>") if "</s>" in tokens else len(tokens)
                assert tokens[:end] == [*prefix, *hypothesis.tokens]
                compared += 1
        assert compared >= (1 if beam_size > 1 else 10)


def test_beam_search_inside_has_its_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = load(tmp_path, "fsmt")
    model = emitted(core, tmp_path / "model").model
    arguments = (core, model, tmp_path, "float32")
    with pytest.raises(FmallocError, match=r"can force one token, not more"):
        emit_beam_search(*arguments, ("a", "b"))
    monkeypatch.setattr("fmalloc_export.emit.onnx.beam_search._LARGEST", 10_000)
    with pytest.raises(FmallocError, match=r"beam_search.onnx would have .* GB, but one file can have 2 at most"):
        emit_beam_search(*arguments)
    assert not (tmp_path / SINGLE_FILE).exists()
