import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from fmalloc_export.checks import parity
from fmalloc_export.checks.reference import outputs as pytorch
from fmalloc_export.checks.sentences import Sentences
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.domain.transformer import with_cells
from fmalloc_export.emit import onnx as emitter
from fmalloc_export.emit.emitter import Problem
from fmalloc_export.emit.onnx.graph import OPSET, quantize_rows
from fmalloc_runtime.bundle.bundle import EngineInfo
from fmalloc_runtime.engines.onnx import onnxruntime_version
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.processor import adds_integers_exactly
from tests.support.bases import BASES, CORE_BASES, POSITIONS
from tests.support.compiled import compile_domain
from tests.support.onnx import Emitted, emitted, load
from tests.support.stores import subprocess_environment, tree_bytes, write_store

NUMBERS = {"float32": 4, "float16": 2, "int8": 1}


@pytest.fixture(scope="module", params=sorted(BASES))
def domain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Domain:
    """A domain of odd widths of each model family and tokenizer."""
    return load(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module", params=CORE_BASES)
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Domain:
    return load(tmp_path_factory.mktemp(request.param), request.param, "it")


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Domain:
    return load(tmp_path_factory.mktemp("marian"), "marian", "it")


def problem(found: Emitted, count: int = 24) -> Problem:
    domain = found.domain
    sentences = Sentences(tuple(map(tuple, found.source_tokens(count))), 0)
    return parity.problem_of(sentences, domain.vocabulary, found.model.target_tokens, found.target_prefix, 48)


@pytest.mark.parametrize("trimmed", [False, True])
def test_the_emitted_model_writes_and_scores_what_the_compiled_one_does(
    domain: Domain, tmp_path: Path, trimmed: bool
) -> None:
    found = emitted(domain, tmp_path / "model", trimmed=trimmed)
    wanted = pytorch("compiled", with_cells(domain.base, found.model), problem(found), 4)
    (greedy, beam), difference = parity._compare(
        wanted, emitter.outputs(found.directory, problem(found), domain.vocabulary, 4)
    )
    assert greedy == 24
    assert beam >= 23  # the random FSMT has a sentence with a tie
    assert 0 < difference < 5e-5


def test_parity_takes_the_emitter_and_notices_other_cells(marian: Domain, tmp_path: Path) -> None:
    found = emitted(marian, tmp_path / "model")
    layer = found.model.feed_forward[3]
    layers = (*found.model.feed_forward[:3], replace(layer, fc2_weight=layer.fc2_weight * np.float32(1.01)))

    def check(model: DomainModel) -> parity.ParityReport:
        return parity.check(
            parity.ComparedModels(marian.masked, marian.sliced, with_cells(marian.base, model), found.directory),
            emitter,
            marian.vocabulary,
            model.target_tokens,
            Sentences(tuple(map(tuple, found.source_tokens(8))), 0),
            found.target_prefix,
            24,
        )

    assert check(found.model).parity.identical.emitted_greedy == 8
    with pytest.raises(FmallocError, match="nothing was written"):
        check(replace(found.model, feed_forward=layers))


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_files_inputs_and_outputs_are_named_as_optimum_names_them(marian: Domain, tmp_path: Path) -> None:
    found = emitted(marian, tmp_path / "model")
    graphs = {
        path.stem: onnx.load(path, load_external_data=False).graph for path in found.directory.glob("*_model.onnx")
    }
    caches = {
        side: [f"{index}.{side}.{part}" for index in (0, 1) for part in ("key", "value")]
        for side in ("decoder", "encoder")
    }
    names = {
        stem: tuple({value.name for value in values} for values in (graph.input, graph.output))
        for stem, graph in graphs.items()
    }
    present = {side: {f"present.{name}" for name in cache} for side, cache in caches.items()}
    past = {f"past_key_values.{name}" for cache in caches.values() for name in cache}
    assert names == {
        "encoder_model": ({"input_ids", "attention_mask"}, {"last_hidden_state", *present["encoder"]}),
        "decoder_model": (
            {"input_ids", "encoder_attention_mask", "encoder_hidden_states"},
            {"logits", *present["decoder"], *present["encoder"]},
        ),
        "decoder_with_past_model": (
            {"input_ids", "encoder_attention_mask", *past},
            {"logits", "alignment", *present["decoder"]},
        ),
    }
    shapes = {value.name: shape_of(value) for value in graphs["decoder_with_past_model"].input}
    assert shapes["past_key_values.0.decoder.key"] == ["rows", 2, "past", 8]
    assert shape_of(graphs["decoder_model"].output[0]) == ["rows", "target", len(marian.vocabulary.target)]
    assert json.loads((found.directory / "config.json").read_text())["model_type"] == "marian"
    assert json.loads((found.directory / "generation_config.json").read_text()) == {
        "decoder_start_token_id": len(marian.vocabulary.target),
        "eos_token_id": 0,
        "forced_eos_token_id": None,
        "max_length": POSITIONS,
        "pad_token_id": 0,
    }


def test_every_graph_is_valid_onnx_of_the_stated_opset(core: Domain, tmp_path: Path) -> None:
    for quantization in emitter.QUANTIZATIONS:
        found = emitted(core, tmp_path / quantization, quantization)
        for path in found.directory.glob("*.onnx"):
            onnx.checker.check_model(str(path))
            assert {entry.domain: entry.version for entry in onnx.load(path).opset_import}[""] == OPSET


def run(session: onnxruntime.InferenceSession, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [value.name for value in session.get_outputs()]
    outputs = session.run(None, {value.name: values[value.name] for value in session.get_inputs()})
    return dict(zip(names, outputs, strict=True))


def test_optimums_protocol_gives_what_transformers_gives(core: Domain, tmp_path: Path) -> None:
    """First decoder_model, then decoder_with_past_model, with encoder caches repeated for every beam."""
    found = emitted(core, tmp_path / "model")
    sessions = {
        name: onnxruntime.InferenceSession(str(found.directory / f"{name}_model.onnx"))
        for name in ("encoder", "decoder", "decoder_with_past")
    }
    source = np.array([found.sources()[0]] * 2)
    mask = np.ones_like(source)
    start = json.loads((found.directory / "generation_config.json").read_text())["decoder_start_token_id"]
    target = np.array([[start, 5, 6, 7], [start, 8, 4, 9]])
    encoder = run(sessions["encoder"], {"input_ids": source, "attention_mask": mask})
    values = {"encoder_hidden_states": encoder["last_hidden_state"], "encoder_attention_mask": mask}
    first = run(sessions["decoder"], {**values, "input_ids": target[:, :2]})
    pasts = {name.replace("present", "past_key_values"): value for name, value in first.items() if name != "logits"}
    logits = [first["logits"]]
    for step in (2, 3):
        outputs = run(sessions["decoder_with_past"], {**values, **pasts, "input_ids": target[:, step : step + 1]})
        logits.append(outputs["logits"])
        pasts |= {name.replace("present", "past_key_values"): value for name, value in outputs.items()}
    for name, cache in encoder.items():
        if name != "last_hidden_state":
            np.testing.assert_allclose(cache, first[name], atol=1e-5)
    model = with_cells(core.base, found.model)
    with torch.inference_mode():
        expected = model(
            input_ids=torch.from_numpy(source),
            attention_mask=torch.from_numpy(mask),
            decoder_input_ids=torch.from_numpy(target),
        ).logits[:, :, torch.from_numpy(found.model.target_tokens)]
    np.testing.assert_allclose(np.concatenate(logits, axis=1), expected.numpy(), atol=2e-4)


@pytest.mark.parametrize("quantization", emitter.QUANTIZATIONS)
def test_every_quantization_translates_nearly_as_float32(core: Domain, tmp_path: Path, quantization: str) -> None:
    scores = []
    for name in ("float32", quantization):
        found = emitted(core, tmp_path / f"{name}-{len(scores)}", name)
        outputs = emitter.outputs(found.directory, problem(found), core.vocabulary, 2)
        assert any(outputs.beam)
        scores.append(np.array(outputs.score([(index, (5, 6, 7, 8)) for index in range(24)])))
    int8 = 0.4 if adds_integers_exactly() else 1.2
    assert np.abs(scores[1] - scores[0]).mean() <= {"float32": 0, "float16": 0.02, "int8": int8}[quantization]


def test_int8_multiplies_integers_everywhere(marian: Domain, tmp_path: Path) -> None:
    found = emitted(marian, tmp_path / "model", "int8")
    for name, products, attentions in (("encoder_model", 2 * 4 + 2, 0), ("decoder_with_past_model", 2 * 6 + 1, 1)):
        graph = onnx.load(found.directory / f"{name}.onnx", load_external_data=False).graph
        operators = [node.op_type for node in graph.node]
        assert operators.count("MatMulIntegerToFloat") == products
        assert "Gemm" not in operators
        assert operators.count("MatMul") == attentions


def test_rows_are_quantized_by_themselves() -> None:
    rows = np.array([[1.0, -0.5, 0.25], [0, 0, 0], [-100, 50, 0.1]], dtype=np.float32)
    integers, scales = quantize_rows(rows)
    assert integers.tolist() == [[127, -64, 32], [0, 0, 0], [-127, 64, 0]]
    assert np.abs(integers * scales[:, None] - rows).max() <= scales.max() / 2


@pytest.mark.parametrize("quantization", emitter.QUANTIZATIONS)
def test_emission_is_deterministic_and_changes_nothing(core: Domain, tmp_path: Path, quantization: str) -> None:
    state = {name: tensor.clone() for name, tensor in core.base.state_dict().items()}
    config = core.base.config.to_dict()
    first, second = (emitted(core, tmp_path / name, quantization) for name in ("first", "second"))
    again = emitted(Domain.load(core.store, core.name), tmp_path / "again", quantization)
    assert tree_bytes(first.directory) == tree_bytes(second.directory) == tree_bytes(again.directory)
    assert core.base.config.to_dict() == config
    assert all(torch.equal(tensor, state[name]) for name, tensor in core.base.state_dict().items())


@pytest.mark.slow
def test_emission_does_not_depend_on_threads_process_or_place(marian: Domain, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, torch; from fmalloc.store.store import Store;"
        "from fmalloc_export.domain.domain import Domain; from fmalloc_export.emit import onnx;"
        "from fmalloc_export.passes import pipeline;"
        "torch.set_num_threads(2); out = pathlib.Path(sys.argv[2]); out.mkdir();"
        "domain = Domain.load(Store.open(pathlib.Path(sys.argv[1])), 'it');"
        "model = pipeline.run(domain.model, pipeline.exact('int8'))[-1].model;"
        "onnx.emit(domain, model, out, 'int8')"
    )
    moved = marian.store.path.parent / "moved"
    marian.store.path.rename(moved)
    environment = subprocess_environment() | {"OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "5"}
    try:
        arguments = [sys.executable, "-c", code, str(moved), str(tmp_path / "other")]
        subprocess.run(arguments, env=environment, check=True, timeout=120, capture_output=True)
    finally:
        moved.rename(marian.store.path)
    here = emitted(marian, tmp_path / "here", "int8")
    assert tree_bytes(tmp_path / "other") == tree_bytes(here.directory)


@pytest.mark.parametrize("quantization", emitter.QUANTIZATIONS)
def test_domains_of_a_base_share_a_file_and_tied_weights_are_written_once(
    marian: Domain, tmp_path: Path, quantization: str
) -> None:
    others = [marian, Domain.load(marian.store, "odd"), Domain.load(marian.store, "general")]
    files = [tree_bytes(emitted(d, tmp_path / d.name, quantization).directory) for d in others]
    assert len({content["base.onnx_data"] for content in files}) == 1
    # Matrices as small as here may be in the graph itself.
    assert len({(content["domain.onnx_data"], content["encoder_model.onnx"]) for content in files}) == 3
    graph = onnx.load(tmp_path / "it" / "decoder_with_past_model.onnx", load_external_data=False).graph
    places = {tensor.name: {entry.key: entry.value for entry in tensor.external_data} for tensor in graph.initializer}
    embedding = places["decoder.embedding"]
    tied = places["projection.weight"]
    assert (tied["location"], tied["offset"]) == (embedding["location"], embedding["offset"])
    rows = len(marian.vocabulary.target)
    assert int(tied["length"]) == rows * 16 * NUMBERS[quantization]
    assert int(embedding["length"]) == (rows + 1) * 16 * NUMBERS[quantization]


def test_a_trimmed_vocabulary_shortens_the_decoder_alone(core: Domain, tmp_path: Path) -> None:
    whole, trimmed = (emitted(core, tmp_path / str(cut), trimmed=cut) for cut in (False, True))
    described = json.loads((trimmed.directory / "vocabulary.json").read_text())
    assert described["source"] == list(core.vocabulary.source)
    assert described["target"] == [core.vocabulary.target[i] for i in trimmed.model.target_tokens]
    tables = [
        {tensor.name: list(tensor.dims) for name in ("encoder", "decoder") for tensor in graph(found, name).initializer}
        for found in (whole, trimmed)
    ]
    kept = len(trimmed.model.target_tokens)
    assert tables[1]["encoder.embedding"] == tables[0]["encoder.embedding"]
    assert tables[1]["projection.weight"] == [kept, 16]
    assert tables[1]["decoder.embedding"][0] == kept + (described["start"] == kept)


def graph(found: Emitted, name: str) -> onnx.GraphProto:
    return onnx.load(found.directory / f"{name}_model.onnx", load_external_data=False).graph


def test_what_cannot_be_emitted_is_refused(marian: Domain, tmp_path: Path) -> None:
    model = emitted(marian, tmp_path / "model").model
    end = marian.vocabulary.target.index("</s>")
    cases = {
        "cells are off, but not cut: run bake-mask": marian.model,
        "has layers encoder.1, decoder.0, decoder.1, its base encoder.0": replace(
            model, feed_forward=model.feed_forward[1:]
        ),
        "activation function 'softsign' cannot be written as ONNX, expected one of gelu": replace(
            model, activation="softsign"
        ),
        "end token '</s>' is not a target token": replace(
            model, target_tokens=model.target_tokens[model.target_tokens != end]
        ),
    }
    for complaint, wrong in cases.items():
        with pytest.raises(FmallocError, match=complaint):
            emitter.emit(marian, wrong, tmp_path, "float32")


def test_the_minimum_version_is_one_of_a_manifest() -> None:
    info = EngineInfo(name=emitter.NAME, minimum_version=emitter.MINIMUM_VERSION, quantization="int8")
    assert tuple(map(int, info.minimum_version.split("."))) <= tuple(map(int, onnxruntime_version().split(".")))


@pytest.mark.parametrize(("quantization", "value"), [("float16", 1e5), ("float32", np.nan), ("float32", -np.inf)])
def test_a_weight_that_is_not_finite_in_its_type_is_not_emitted(
    tmp_path: Path, quantization: str, value: float
) -> None:
    compiled = compile_domain(write_store(tmp_path / "store"), "it", quantization)
    with torch.no_grad():
        compiled.domain.base.model.decoder.layers[1].encoder_attn.out_proj.weight[3, 3] = value
    (tmp_path / "model").mkdir()
    with pytest.raises(FmallocError, match=f"cross.output.weight: NaN or infinite values in {quantization}"):
        emitter.emit(compiled.domain, compiled.after, tmp_path / "model", quantization)
