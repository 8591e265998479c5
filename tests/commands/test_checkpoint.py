"""fmalloc export --format transformers: what leaves needs nothing of fmalloc, and writes the same tokens."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fmalloc.evaluation.evaluate import translate
from fmalloc.model.assembly import load_masked
from fmalloc.store.store import Store
from fmalloc_shared.files import sha256_files
from tests.support.lifecycle import run
from tests.support.stores import BASES, CORE_BASES, LAYERS, PAIRS, WIDTH, commit, write_store

_STOCK = """
import json, sys, warnings
sys.modules["fmalloc"] = None
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
folder, sources = sys.argv[1], json.loads(sys.stdin.read())
model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
print(json.dumps([model.generate(**tokenizer(source, return_tensors="pt"))[0].tolist() for source in sources]))
"""
NORM = "model.encoder.layers.0.final_layer_norm.weight"


def stock(folder: Path, sources: list[str]) -> list[list[int]]:
    """Token ids by a process that has transformers, and no fmalloc."""
    environment = {**os.environ, "PYTHONPATH": "", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", _STOCK, str(folder)],
        input=json.dumps(sources),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [list(row) for row in json.loads(done.stdout)]


def private(store: Store, **more: np.ndarray) -> None:
    """A task that owns nothing, has all cells of general on, and another norm."""
    none = {layer: np.zeros(0, dtype=np.int64) for layer in LAYERS}
    gain = np.linspace(0.5, 1.5, 16, dtype=np.float32)
    commit(store, "own", store.mask("general"), none, PAIRS, seed=4, private={NORM: gain, **more})


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in CORE_BASES else pytest.mark.slow) for kind in BASES]
)
def test_stock_code_writes_the_same_tokens(kind: str, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", kind, samples=PAIRS[:3])
    private(store)
    code, output = run("export", "--store", store.path, "--task", "late", "--task", "own", "--format", "transformers",
                       "--output-dir", tmp_path / "out")  # fmt: skip
    assert code == 0, output
    assert "translations have the same tokens" in output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".lock", "late", "own"]


def test_it_needs_no_fmalloc_and_holds_zeros_where_the_domain_is_off(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", samples=PAIRS[:3])
    store.grow(4, 1)
    code, output = run("export", "--store", store.path, "--all", "--format", "transformers", "--output-dir", tmp_path)
    assert code == 0, output
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "store", "general", "it", "odd", "late"}
    weights, mask = load_file(tmp_path / "late/model.safetensors"), store.mask("late")["encoder.1"]
    values = weights["model.encoder.layers.1.fc2.weight"]
    assert values.shape == (16, WIDTH) and not values[:, ~mask].any() and values[:, mask].any()
    sources = [pair.source for pair in PAIRS[:4]]
    model, tokenizer = load_masked(store, "late")
    expected = translate(model, tokenizer, sources, store.description.languages, beam_size=4).tokens
    pad = model.config.pad_token_id
    found = [[token for token in row[1:] if token != pad] for row in stock(tmp_path / "late", sources)]
    assert found == [[token for token in row if token != pad] for row in expected]


def test_the_same_store_gives_the_same_bytes_and_force_writes_again(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", samples=PAIRS[:3])
    arguments = ["export", "--store", store.path, "--task", "it", "--format", "transformers", "--output-dir", tmp_path]
    assert run(*arguments)[0] == 0
    before = sha256_files(tmp_path / "it")
    code, output = run(*arguments)
    assert code == 2 and "exists already; --force writes over it" in output
    assert run(*arguments, "--force")[0] == 0
    assert sha256_files(tmp_path / "it") == before


def test_what_stock_code_has_no_place_for_is_refused_and_named(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", "m2m100", samples=PAIRS[:3])
    tokens = load_file(store.base / "model.safetensors")["model.shared.weight"].shape[0]
    private(store, output_bias=np.linspace(-1, 1, tokens, dtype=np.float32))
    code, output = run("export", "--store", store.path, "--task", "own", "--format", "transformers",
                       "--output-dir", tmp_path / "out")  # fmt: skip
    assert code == 2, output
    assert "transformers' m2m_100 has no place for lm_head.bias" in output
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--task", "law"], "no task 'law'"),
        (["--task", "it", "-O", "1"], "-O: goes with bundles"),
        (["--task", "it", "--quantization", "int8"], "--quantization: goes with bundles"),
        ([], "give one --task or more, or --all"),
    ],
)
def test_wrong_arguments_are_named(more: list[str], message: str, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", samples=PAIRS[:3])
    code, output = run("export", "--store", store.path, "--format", "transformers", "--output-dir", tmp_path, *more)
    assert code == 2 and message in output, output
