"""Where tensors lie in model files: pinned to what the engines' own libraries write and read."""

from pathlib import Path

import ctranslate2
import numpy as np
import onnx
import pytest
from ctranslate2.specs import TransformerSpec, model_spec
from onnx import TensorProto, helper, numpy_helper

from fmalloc_export.bundles.diff import ModelFile, delta_bytes
from fmalloc_export.bundles.layout import StoredTensor, layout_of
from fmalloc_runtime.bundle.packed import PackedFile
from fmalloc_shared.files import sha256
from tests.support.bundles import write_model, write_tokenizer


def test_the_format_is_the_one_that_ctranslate2_writes() -> None:
    assert model_spec.CURRENT_BINARY_VERSION == 6
    assert int(ctranslate2.__version__.split(".")[0]) == 4


@pytest.mark.parametrize("quantization", [None, "int8", "float16"])
def test_every_ctranslate2_tensor_is_found(
    tmp_path: Path, quantization: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: dict[str, bytes] = {}

    def keep(self: TransformerSpec, path: str) -> None:
        saved.update({n: v.to_bytes() for n, v in self.variables(ordered=True) if not isinstance(v, str)})
        serialize(self, path)

    serialize = TransformerSpec._serialize
    monkeypatch.setattr(TransformerSpec, "_serialize", keep)
    write_model(tmp_path / "model", write_tokenizer(tmp_path / "tokenizer"), 1, quantization=quantization)
    data = (tmp_path / "model" / "model.bin").read_bytes()
    tensors = layout_of("model.bin", {"model.bin": data})
    assert {t.names[0]: data[t.offset : t.offset + t.size] for t in tensors} == {n: d for n, d in saved.items() if d}
    by_name = {name: tensor for tensor in tensors for name in tensor.names}
    assert by_name["encoder/embeddings_0/weight"] is by_name["decoder/embeddings/weight"]
    fc1 = by_name["encoder/layer_0/ffn/linear_0/weight"]
    assert (fc1.rows, fc1.columns, fc1.item_size) == (24, 16, {None: 4, "int8": 1, "float16": 2}[quantization])


@pytest.mark.parametrize("cut", [0, 3, 40, -1])
def test_other_content_has_no_tensors(tmp_path: Path, cut: int) -> None:
    write_model(tmp_path / "model", write_tokenizer(tmp_path / "tokenizer"), 1)
    data = (tmp_path / "model" / "model.bin").read_bytes()[:cut]
    assert layout_of("model.bin", {"model.bin": data}) == ()
    assert layout_of("model.bin", {"model.bin": b"\x06\0\0\0" + b"\xff" * 400}) == ()
    assert layout_of("weights.data", {"weights.data": data}) == ()


def onnx_files(kept: np.ndarray, directory: Path) -> dict[str, bytes]:
    """A graph with a matrix and its transpose inside, and one with both in a file beside it."""
    draw = np.random.default_rng(1)
    fc1, fc2 = draw.normal(size=(64, 32)).astype(np.float32), draw.normal(size=(32, 64)).astype(np.float32)
    arrays = {"fc1": np.ascontiguousarray(fc1[kept]), "fc2": np.ascontiguousarray(fc2[:, kept])}
    files: dict[str, bytes] = {}
    for name in ("inside", "outside"):
        tensors = [numpy_helper.from_array(array, key) for key, array in arrays.items()]
        graph = helper.make_graph([], name, [], [], initializer=tensors)
        model = helper.make_model(graph)
        path = directory / f"{name}.onnx"
        beside = name == "outside"
        onnx.save_model(
            model,
            path,
            save_as_external_data=beside,
            location="outside.onnx_data" if beside else None,
            size_threshold=0,
        )
        files[path.name] = path.read_bytes()
    files["outside.onnx_data"] = (directory / "outside.onnx_data").read_bytes()
    return files


@pytest.mark.parametrize("name", ["inside.onnx", "outside.onnx_data"])
def test_onnx_weights_are_found_inside_and_beside_the_graph(tmp_path: Path, name: str) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    target = onnx_files(np.arange(0, 64, 2), tmp_path / "one")
    reference = onnx_files(np.arange(64), tmp_path / "other")
    tensors = layout_of(name, target)
    assert [tensor.names[0].split(":")[1] for tensor in tensors] == ["fc1", "fc2"]
    assert [(tensor.rows, tensor.columns) for tensor in tensors] == [(32, 32), (32, 32)]
    files = [ModelFile(np.frombuffer(f[name], dtype=np.uint8), layout_of(name, f)) for f in (target, reference)]
    (tmp_path / "reference").write_bytes(reference[name])
    digest = sha256(tmp_path / "reference")
    (tmp_path / "reference").rename(tmp_path / digest)
    (tmp_path / "delta").write_bytes(delta_bytes(*files, digest))
    found = PackedFile.open(tmp_path / "delta", tmp_path)
    (tmp_path / "target").write_bytes(target[name])
    assert found.content(sha256(tmp_path / "target")) == target[name]
    assert found._lengths["literals"] < 800


def test_damaged_graphs_have_no_tensors() -> None:
    assert layout_of("model.onnx", {"model.onnx": b"\xff\xff\xff"}) == ()
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "w.data"), ("offset", "999"), ("length", "16")):
        outside.external_data.add(key=key, value=value)
    graph = helper.make_model(helper.make_graph([], "g", [], [], initializer=[outside]))
    assert layout_of("w.data", {"g.onnx": graph.SerializeToString(), "w.data": bytes(32)}) == ()


def literals_of(tmp_path: Path, target: list[np.ndarray], reference: list[np.ndarray]) -> int:
    """Literal bytes of the delta between two files of byte matrices; the delta has to be right."""
    files = []
    for matrices in (target, reference):
        offsets = np.cumsum([0, *(matrix.size for matrix in matrices)])
        tensors = [StoredTensor((f"{i}",), int(offsets[i]), *matrix.shape, 1) for i, matrix in enumerate(matrices)]
        data = b"".join(np.ascontiguousarray(matrix).tobytes() for matrix in matrices)
        (tmp_path / "file").write_bytes(data)
        files.append(ModelFile(np.frombuffer(data, np.uint8), tuple(tensors)))
    digest = sha256(tmp_path / "file")
    (tmp_path / "file").rename(tmp_path / digest)
    (tmp_path / "delta").write_bytes(delta_bytes(*files, digest))
    (tmp_path / "file").write_bytes(files[0].data.tobytes())
    found = PackedFile.open(tmp_path / "delta", tmp_path)
    assert found.content(sha256(tmp_path / "file")) == files[0].data.tobytes()
    return found._lengths["literals"]


def test_rows_and_columns_are_found_by_their_content(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    there = draw.integers(0, 256, size=(40, 30), dtype=np.uint8)
    rows, columns = draw.permutation(40)[:20], draw.permutation(30)[:10]
    changed = there[rows]
    changed[3] = 7
    narrow = there[:, columns]
    narrow[:, 2] = 8
    scattered = there.copy()
    scattered[[1, 30]] = 0
    unlike = draw.integers(0, 256, size=(40, 30), dtype=np.uint8)
    cases = ((there, 0), (there[rows], 0), (changed, 30), (narrow, 40), (scattered, 60), (unlike, 1200))
    assert [literals_of(tmp_path, [wanted], [there]) for wanted, _ in cases] == [literals for _, literals in cases]


def test_cells_found_in_fc1_are_looked_for_in_fc2(tmp_path: Path) -> None:
    """As int8 has it: where a row of fc2 has lost its largest weight, all of that row is scaled anew."""
    draw = np.random.default_rng(2)
    fc1 = draw.integers(0, 256, size=(40, 16), dtype=np.uint8)
    fc2 = draw.integers(0, 256, size=(16, 40), dtype=np.uint8)
    kept = np.flatnonzero(draw.random(40) > 0.2)
    narrow = fc2[:, kept]
    narrow[[4, 9]] = draw.integers(0, 256, size=(2, len(kept)), dtype=np.uint8)
    assert literals_of(tmp_path, [fc1[kept], narrow], [fc1, fc2]) == 2 * len(kept)
