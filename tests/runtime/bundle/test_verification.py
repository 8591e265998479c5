"""What digests do not say: files that belong to the engine, and a model that fits its manifest."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.bundle.weights import ModelFile, Tensor
from fmalloc_runtime.live.translator import Translator
from fmalloc_shared.errors import FmallocError
from tests.fuzz.seal import seal
from tests.support.bundles import CPU, bundle_of, write_bundle


def changed(bundles: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """The bundle of `it` with another content of one file, and digests that fit."""
    path = bundle_of(bundles, "it") / name
    content = change(path.read_bytes())
    path.unlink()
    path.write_bytes(content)
    assert seal("bundle", bundles.parent, path)
    return bundle_of(bundles, "it")


def tensor(data: bytes, name: str) -> Tensor:
    found = ModelFile(np.frombuffer(data, dtype=np.uint8)).find(name)
    assert found is not None
    return found


def shaped(name: str, *shape: int) -> Callable[[bytes], bytes]:
    """Another shape of as many dimensions."""

    def change(data: bytes) -> bytes:
        at = tensor(data, name).offset - 5 - 4 * len(shape)
        return data[:at] + struct.pack(f"={len(shape)}I", *shape) + data[at + 4 * len(shape) :]

    return change


def valued(name: str, value: bytes) -> Callable[[bytes], bytes]:
    """Another first value."""

    def change(data: bytes) -> bytes:
        at = tensor(data, name).offset
        return data[:at] + value + data[at + len(value) :]

    return change


def written(key: str, value: object) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps(json.loads(data) | {key: value}).encode()


LAYER = "encoder/layer_0"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (shaped(f"{LAYER}/ffn/linear_0/weight", 16, 24), "its layers have widths"),
        (shaped(f"{LAYER}/ffn/linear_1/weight", 24, 16), r"linear_1/weight has shape \[24, 16\], expected \[16, 24\]"),
        (shaped(f"{LAYER}/self_attention/linear_0/weight", 16, 48), r"expected \[48, 16\]"),
        (shaped("decoder/embeddings/weight", 1, 2), "which its shape .* does not need"),
        (valued("encoder/num_heads", b"\0\0"), "encoder/num_heads is 0, expected a divisor of 16"),
        (valued("decoder/num_heads", b"\3\0"), "decoder/num_heads is 3"),
        (valued("decoder/alignment_heads", b"\x63\0"), "decoder/alignment_heads is 99, expected 0 to 2"),
        (valued("decoder/projection/bias", struct.pack("f", float("nan"))), "projection/bias has values that are not"),
        (valued(f"{LAYER}/ffn/linear_0/weight", struct.pack("f", float("inf"))), "has values that are not finite"),
        (lambda data: data[:-1], "not a CTranslate2 model: "),
        (lambda data: data + b"\0", "1 bytes are left over"),
        (lambda data: b"\7" + data[1:], "binary version 7, expected 6"),
        (lambda data: data[:4] + b"\xff\xff" + data[6:], "cut off"),
        (lambda _: b"", "not a CTranslate2 model"),
    ],
)
def test_a_model_that_the_engine_would_misread_is_refused(
    own_bundles: Path, change: Callable[[bytes], bytes], complaint: str
) -> None:
    with pytest.raises(FmallocError, match=f"model/model.bin: .*{complaint}"):
        Bundle.open(changed(own_bundles, "model/model.bin", change))


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        (
            "model/shared_vocabulary.json",
            lambda data: json.dumps([*json.loads(data), "▁x"]).encode(),
            "target tokens in",
        ),
        ("model/shared_vocabulary.json", lambda data: json.dumps([*json.loads(data)[1:], "▁x"]).encode(), "eos_token"),
        ("model/shared_vocabulary.json", lambda data: json.dumps(json.loads(data)[:1] * 9).encode(), "occurs twice"),
        ("model/shared_vocabulary.json", lambda _: b"{}", "expected a list of tokens"),
        ("model/config.json", written("decoder_start_token", "▁none"), "decoder_start_token '▁none' is not in the"),
        ("model/config.json", written("unk_token", 3), "unk_token 3 is not in the vocabulary"),
        ("model/config.json", lambda _: b"[]", "config.json: expected an object"),
        ("model/config.json", lambda _: b"{", "config.json: not JSON"),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused(
    own_bundles: Path, name: str, change: Callable[[bytes], bytes], complaint: str
) -> None:
    with pytest.raises(FmallocError, match=complaint):
        Bundle.open(changed(own_bundles, name, change))


@pytest.mark.parametrize("field", ["source_prefix", "source_suffix", "target_prefix"])
def test_a_tokenizer_frames_texts_in_tokens_of_the_model(own_bundles: Path, field: str) -> None:
    bundle = Bundle.open(changed(own_bundles, "tokenizer/tokenizer.json", written(field, [">>none<<"])))
    with pytest.raises(FmallocError, match=f"tokenizer.json: {field}: '>>none<<' is not in the model's vocabulary"):
        Translator.load(bundle, CPU)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"widths": {"encoder.0": 24, "decoder.0": 23}}, "its layers have widths"),
        ({"widths": {"encoder.0": 24}}, "its layers have widths"),
        ({"target_tokens": 5}, "target tokens in the model's vocabulary, target_tokens is 5"),
        ({"maximum_length": 49}, "48 positions, maximum_length is 49"),
        ({"widths": {"encoder.x": 24}}, "widths.encoder.x"),
        ({"target_tokens": 2**40}, "target_tokens: Input should be less than"),
        ({"maximum_length": 10**9}, "maximum_length: Input should be less than"),
    ],
)
def test_a_manifest_says_what_the_model_is(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FmallocError, match=complaint):
        Bundle.open(write_bundle(tmp_path, "it", golden=(), **changes))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("run.sh", "files: 'run.sh' is none of a bundle for ctranslate2"),
        ("model/encoder_model.onnx", "is none of a bundle for ctranslate2"),
        ("tokenizer/deep/er.json", "is none of a bundle"),
        ("../live.json", "expected the relative path of a file inside the bundle"),
        ("model/\x1b[31m", "expected the relative path of a file inside the bundle"),
    ],
)
def test_a_manifest_lists_what_belongs_to_a_bundle(own_bundles: Path, name: str, complaint: str) -> None:
    def listed(data: bytes) -> bytes:
        content = json.loads(data)
        return json.dumps(content | {"files": content["files"] | {name: "0" * 64}}).encode()

    with pytest.raises(FmallocError, match=complaint) as caught:
        Bundle.read(changed(own_bundles, "manifest.json", listed))
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda path: path.mkdir(), "not listed"),
        (os.mkfifo, "not listed"),
        (lambda path: path.symlink_to("/"), "is a link, expected the file itself"),
    ],
)
def test_nothing_else_lies_in_a_bundle(own_bundles: Path, make: Callable[[Path], object], complaint: str) -> None:
    path = bundle_of(own_bundles, "it")
    make(path / "model" / "more")
    with pytest.raises(FmallocError, match=f"more: {complaint}"):
        Bundle.open(path)


def test_a_file_of_a_bundle_is_no_link(own_bundles: Path, tmp_path: Path) -> None:
    path = bundle_of(own_bundles, "it") / "model" / "model.bin"
    path.rename(tmp_path / "model.bin")
    path.symlink_to(tmp_path / "model.bin")
    with pytest.raises(FmallocError, match="model.bin: is a link, expected the file itself"):
        Bundle.open(path.parents[1])
    assert LiveIndex.of(own_bundles).domains["it"] == path.parents[1].name
