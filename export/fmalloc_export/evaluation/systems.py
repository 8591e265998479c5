"""The models that can be evaluated: those of a memory store, of bundles, or one saved by transformers."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol

from fmalloc.corpus import Pair
from fmalloc.evaluation.evaluate import MAXIMUM_NEW_TOKENS, nll_of, translate
from fmalloc.model.architectures import languages_of, load_base
from fmalloc.model.assembly import load_sliced
from fmalloc.model.devices import DeviceName, select
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.store import Store
from fmalloc_runtime.bundle.bundle import LIVE_FILE, MANIFEST_FILE, Bundle, LiveIndex
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import EngineSettings, Translator, check_loadable
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256 as file_sha256
from fmalloc_shared.files import sha256_files
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import GENERAL

BASE = "base"
_CHUNK_LINES = 200


class Translating(Protocol):
    """A loaded model."""

    def translate(self, sources: Sequence[str], beam_size: int, advance: Callable[[int], None]) -> list[str]:
        """One translation per source; `advance` is called with the number of sources just translated."""
        ...

    def nll(self, pairs: Sequence[Pair]) -> float | None:
        """Negative log-likelihood in nats per target token; None where the engine cannot compute it."""
        ...


@dataclass(frozen=True)
class System:
    """A named model; `digest`: SHA-256 of its files."""

    name: str
    digest: str
    load: Callable[[], Translating]


@dataclass(frozen=True)
class Systems:
    """The models found at a path, of one language pair; `samples`: dev pairs that a store keeps, by domain."""

    kind: Literal["store", "bundles", "model"]
    languages: LanguagePair
    systems: tuple[System, ...]
    samples: Mapping[str, tuple[Pair, ...]]

    @classmethod
    def find(
        cls, path: Path, names: Sequence[str] = (), languages: LanguagePair | None = None, device: DeviceName = "auto"
    ) -> "Systems":
        """The models of `names`, or all.

        Raises:
            FmallocError: there is nothing to evaluate, or a name or the languages are unknown.
        """
        if Store.exists(path):
            return _of_store(Store.open(path), names, device)
        if (path / MANIFEST_FILE).is_file():
            return _of_bundles(path, {path.name.partition("@")[0]: path}, names, device)
        if (path / LIVE_FILE).is_file():
            live = LiveIndex.of(path).domains
            return _of_bundles(path, {domain: path / name for domain, name in sorted(live.items())}, names, device)
        if (path / "config.json").is_file():
            return _of_model(path, names, languages, device)
        raise FmallocError(
            f"{path}: expected a memory store (store.json), bundles ({LIVE_FILE}), a bundle ({MANIFEST_FILE}), or a "
            "model saved by transformers (config.json)"
        )


@dataclass(frozen=True)
class _Model:
    """A PyTorch model, run in its own precision."""

    model: Any
    tokenizer: Any
    languages: LanguagePair

    def translate(self, sources: Sequence[str], beam_size: int, advance: Callable[[int], None]) -> list[str]:
        return translate(
            self.model, self.tokenizer, sources, self.languages, beam_size=beam_size, on_progress=advance
        ).texts

    def nll(self, pairs: Sequence[Pair]) -> float | None:
        return nll_of(self.model, self.tokenizer, pairs, self.languages)


@dataclass(frozen=True)
class _Emitted:
    """A bundle as the server runs it, with one sentence per line and nothing in it protected."""

    translator: Translator

    def translate(self, sources: Sequence[str], beam_size: int, advance: Callable[[int], None]) -> list[str]:
        search = TranslationOptions(beam_size, MAXIMUM_NEW_TOKENS)
        options = TextOptions(splitting="lines", protect=False, search=search)
        translations: list[str] = []
        for start in range(0, len(sources), _CHUNK_LINES):
            lines = sources[start : start + _CHUNK_LINES]
            translations += [found.text.strip() for found in self.translator.translate_texts(lines, options)]
            advance(len(lines))
        return translations

    def nll(self, pairs: Sequence[Pair]) -> float | None:  # noqa: ARG002
        return None


def _of_store(store: Store, names: Sequence[str], device: DeviceName) -> Systems:
    languages, target = store.description.languages, select(device).torch
    # By the name that users give: the domain's for its current version; another one's only if it is asked for.
    tasks = {domain_of(task.name): task.name for task in store.served()}
    tasks |= {name: store.resolve(name) for name in names if "@" in name}
    digests = {GENERAL: _digest(store.digest(GENERAL))}
    digests |= {name: _digest(store.digest(task)) for name, task in tasks.items()}
    if BASE not in tasks:  # a task of that name takes precedence
        files = {name: d for name, d in store.description.files.items() if name.startswith("base/")}
        digests = {BASE: _digest(files), **digests}

    def loader(name: str) -> Callable[[], Translating]:
        def load() -> Translating:
            untouched = name == BASE and name not in tasks
            model, tokenizer = (
                load_base(store.base, languages) if untouched else load_sliced(store, tasks.get(name, name))
            )
            return _Model(model.to(target), tokenizer, languages)

        return load

    systems = tuple(System(name, digests[name], loader(name)) for name in _chosen(store.path, names, list(digests)))
    samples = {GENERAL: store.samples(GENERAL)}
    samples |= {domain: store.samples(task) for domain, task in tasks.items() if "@" not in domain}
    return Systems("store", languages, systems, {domain: pairs for domain, pairs in samples.items() if pairs})


def _of_bundles(path: Path, found: Mapping[str, Path], names: Sequence[str], device: DeviceName) -> Systems:
    bundles = {name: Bundle.open(found[name]) for name in _chosen(path, names, list(found))}
    for bundle in bundles.values():
        check_loadable(bundle)
    pairs = {bundle.manifest.languages for bundle in bundles.values()}
    if len(pairs) != 1:
        shown = ", ".join(sorted(f"{pair.source}-{pair.target}" for pair in pairs)) or "none"
        raise FmallocError(f"{path}: expected bundles of one language pair, found {shown}")

    def loader(bundle: Bundle) -> Callable[[], Translating]:
        return lambda: _Emitted(Translator.load(bundle, EngineSettings(device)))

    systems = tuple(
        System(name, file_sha256(bundle.path / MANIFEST_FILE), loader(bundle)) for name, bundle in bundles.items()
    )
    return Systems("bundles", pairs.pop(), systems, {})


def _of_model(path: Path, names: Sequence[str], languages: LanguagePair | None, device: DeviceName) -> Systems:
    pair = languages_of(path, *(languages or ()))
    target = select(device).torch

    def load() -> Translating:
        model, tokenizer = load_base(path, pair)
        return _Model(model.to(target), tokenizer, pair)

    (name,) = _chosen(path, names, [path.resolve().name])
    return Systems("model", pair, (System(name, _digest(sha256_files(path)), load),), {})


def _chosen(path: Path, names: Sequence[str], known: Sequence[str]) -> list[str]:
    if unknown := [name for name in names if name not in known]:
        raise FmallocError(f"{path}: no model {unknown[0]!r}; it has {', '.join(known)}")
    return list(dict.fromkeys(names)) or list(known)


def _digest(content: object) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
