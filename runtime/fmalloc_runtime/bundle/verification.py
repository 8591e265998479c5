"""What has to hold in a bundle beyond its digests: its engine's files and no others, a model that fits its manifest.

Digests say that nothing was changed since somebody wrote the manifest. These checks say that what was written can be
run: an engine that is given tensors of other shapes reads memory that is not its own.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmalloc_runtime.bundle.manifest import Manifest
from fmalloc_runtime.bundle.weights import ModelFile, problems
from fmalloc_runtime.memory.file import MEMORY_FILE
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.strict import parse_json

ROUTING_FILE = "routing.safetensors"
GOLDEN_FILE = "golden.jsonl"
GLOSSARY_FILE = "glossary.jsonl"
MODEL_DIRECTORY = "model"
TOKENIZER_DIRECTORY = "tokenizer"
_NEEDED = (ROUTING_FILE, GOLDEN_FILE, f"{TOKENIZER_DIRECTORY}/tokenizer.json")
# Files that not every bundle has, and the key of the manifest that says so.
_OPTIONAL = {MEMORY_FILE: "memory", GLOSSARY_FILE: "glossary"}
_MODEL, _CONFIG = _CTRANSLATE2 = ("model.bin", "config.json")
_SHARED, _SIDES = "shared_vocabulary.json", ("source_vocabulary.json", "target_vocabulary.json")
_ONNX = ("encoder_model.onnx", "decoder_with_past_model.onnx", "cache_gather.onnx", "vocabulary.json")
_ONNX_FILE = re.compile(r"\w+\.onnx(_data)?|(vocabulary|config|generation_config)\.json")

Content = NDArray[np.uint8]
Read = Callable[[str], Content]


def check_manifest(manifest: Manifest, where: str) -> None:
    """See that the manifest lists the files that its engine needs and no others; FmallocError names them."""
    engine, files = manifest.engine.name, _model_files(manifest)
    missing = [name for name in _NEEDED if name not in manifest.files]
    missing += [
        f"{MODEL_DIRECTORY}/{name}" for name in (_ONNX if engine == "onnx" else _CTRANSLATE2) if name not in files
    ]
    if engine != "onnx" and not _vocabularies(files):
        missing.append(f"{MODEL_DIRECTORY}/{_SHARED}")
    if missing:
        raise FmallocError(f"{where}: files: {', '.join(missing)} not listed")
    for file, key in _OPTIONAL.items():
        if (file in manifest.files) != (getattr(manifest, key) is not None):
            raise FmallocError(f"{where}: {file} and `{key}` go together: one of the two is missing")
    if foreign := [name for name in manifest.files if not _is_known(name, engine)]:
        raise FmallocError(f"{where}: files: {foreign[0]!r} is none of a bundle for {engine}")


def check_model(manifest: Manifest, read: Read, where: str) -> None:
    """See that the model is what the manifest says, and can be run: FmallocError names the file and what does not fit.

    `read` gives the content of a file of the manifest.
    """
    source, target = vocabularies(manifest.engine.name, _model_files(manifest), read, where)
    if len(target) != manifest.target_tokens:
        raise FmallocError(
            f"{where}: {len(target)} target tokens in the model's vocabulary, target_tokens is {manifest.target_tokens}"
        )
    if manifest.engine.name != "ctranslate2":
        return
    path = f"{where}/{MODEL_DIRECTORY}/{_MODEL}"
    try:
        model = ModelFile(read(f"{MODEL_DIRECTORY}/{_MODEL}"))
    except ValueError as error:
        raise FmallocError(f"{path}: not a CTranslate2 model: {error}") from error
    if problem := next(problems(model, manifest.widths, len(source), len(target), manifest.maximum_length), None):
        raise FmallocError(f"{path}: {problem}")


def vocabularies(engine: str, names: Iterable[str], read: Read, where: str) -> tuple[list[str], list[str]]:
    """Source and target tokens of the model with the files `names`, by id.

    FmallocError if they are missing or malformed, or have a token twice.
    """

    def tokens(name: str, value: Any) -> list[str]:
        if not isinstance(value, list) or not value or not all(isinstance(token, str) for token in value):
            raise FmallocError(f"{where}/{MODEL_DIRECTORY}/{name}: expected a list of tokens")
        if len(set(value)) < len(value):
            raise FmallocError(f"{where}/{MODEL_DIRECTORY}/{name}: a token occurs twice")
        return value

    def parsed(name: str) -> Any:
        return parse_json(read(f"{MODEL_DIRECTORY}/{name}").tobytes(), f"{where}/{MODEL_DIRECTORY}/{name}")

    if engine == "onnx":
        content = parsed("vocabulary.json")
        if not isinstance(content, dict):
            raise FmallocError(f"{where}/{MODEL_DIRECTORY}/vocabulary.json: expected an object")
        source = tokens("vocabulary.json", content.get("source"))
        return source, source if content.get("target") is None else tokens("vocabulary.json", content["target"])
    found = [tokens(name, parsed(name)) for name in _vocabularies(names)]
    if not found:
        raise FmallocError(f"{where}/{MODEL_DIRECTORY}/{_SHARED}: missing")
    _check_config(parsed(_CONFIG), set(found[0]), set(found[-1]), f"{where}/{MODEL_DIRECTORY}/{_CONFIG}")
    return found[0], found[-1]


def _check_config(config: Any, source: set[str], target: set[str], path: str) -> None:
    if not isinstance(config, dict):
        raise FmallocError(f"{path}: expected an object")
    for name, known in (("unk_token", source), ("eos_token", target), ("decoder_start_token", target)):
        token = config.get(name)
        if not isinstance(token, str) or token not in known:
            shown = repr(token)[:80]
            raise FmallocError(f"{path}: {name} {shown} is not in the vocabulary")


def _vocabularies(names: Iterable[str]) -> list[str]:
    """The vocabulary files of a CTranslate2 model, that of the source first; empty if there is none for a side."""
    given = set(names)
    if _SHARED in given:
        return [_SHARED]
    return [*_SIDES] if given.issuperset(_SIDES) else []


def _model_files(manifest: Manifest) -> list[str]:
    """Names of the files of the model, without their folder."""
    inside = f"{MODEL_DIRECTORY}/"
    return [name.removeprefix(inside) for name in manifest.files if name.startswith(inside)]


def _is_known(name: str, engine: str) -> bool:
    folder, _, inner = name.partition("/")
    if folder == TOKENIZER_DIRECTORY:
        return bool(inner) and "/" not in inner
    if folder != MODEL_DIRECTORY:
        return name in (*_NEEDED, *_OPTIONAL)
    return bool(_ONNX_FILE.fullmatch(inner)) if engine == "onnx" else inner in (*_CTRANSLATE2, _SHARED, *_SIDES)
