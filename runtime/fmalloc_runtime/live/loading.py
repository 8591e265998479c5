"""Loaded models: loaded on demand, the least recently used unloaded first when memory runs out."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, InvalidStateError
from types import TracebackType
from typing import TypeVar

from fmalloc_runtime.bundle.bundle import MODEL_DIRECTORY, Bundle
from fmalloc_runtime.errors import NotReadyError
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.metrics import Metrics
from fmalloc_shared.errors import FmallocError

_log = logging.getLogger(__name__)
# Memory of the weights per byte of a model's files (measured: 1.02 to 1.17), and of a worker's largest batch per
# token of the target vocabulary: mostly logits, of some hundred sentences with four hypotheses each.
_WEIGHTS = 1.1
_WORK = 2048
_Outcome = TypeVar("_Outcome")


def model_bytes(bundle: Bundle, workers: int = 1) -> int:
    """Bytes of the bundle's model in memory, estimated from its files; FmallocError if they are gone.

    `workers`: batches at once.
    """
    packed = bundle.packed
    try:
        sizes = [
            bundle.packed_file(name).delta.size if name in packed else (bundle.path / name).stat().st_size
            for name in bundle.manifest.files
            if name.startswith(f"{MODEL_DIRECTORY}/")
        ]
    except OSError as error:
        raise FmallocError(f"{error.filename}: cannot be read: {error.strerror}") from error
    return int(sum(sizes) * _WEIGHTS) + workers * bundle.manifest.target_tokens * _WORK


class Lease:
    """A claim on a bundle's model, which stays in memory until the lease is released. A context manager.

    `ready` is done once the model is in memory, or fails with NotReadyError. Waiting for a second lease while holding
    one may never end: there may be memory for one model only.
    """

    def __init__(self, release: Callable[["Lease"], None]) -> None:
        self.ready: Future[Translator] = Future()
        self._release = release

    def release(self) -> None:
        """Give up the claim, even before the model is ready. A second call does nothing."""
        self._release(self)

    def __enter__(self) -> Translator:
        try:
            return self.ready.result()
        except BaseException:
            self.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class _Model:
    """A bundle whose model is in memory, or is to be loaded (`translator` is None)."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.size = 0
        self.translator: Translator | None = None
        self.leases: set[Lease] = set()


class ModelCache:
    """Loaded models by bundle; safe to use from several threads at once.

    `memory`: most bytes of models, estimated from their files (None: unlimited). A leased model counts until it is
    released. Models are loaded one at a time, in the order of their leases, each once there is room.
    """

    def __init__(
        self, settings: EngineSettings | None = None, memory: int | None = None, metrics: Metrics | None = None
    ) -> None:
        self.memory = memory
        self._settings = settings or EngineSettings()
        self._metrics = metrics or Metrics()
        self._changed = threading.Condition()
        self._loaded: dict[str, _Model] = {}  # least recently used first
        self._wanted: dict[str, _Model] = {}  # in the order of loading
        self._leaving: set[_Model] = set()  # in memory until their leases are released
        self._allowed: frozenset[str] | None = None
        self._loading = False

    @property
    def used(self) -> int:
        """Estimated bytes of the models in memory, including the one being loaded."""
        with self._changed:
            held = (*self._loaded.values(), *self._leaving, *self._wanted.values())
            return sum(model.size for model in held)

    def loaded(self, bundle: Bundle) -> Translator | None:
        """The bundle's model, if it is in memory. This is not a lease."""
        with self._changed:
            model = self._loaded.get(bundle.name)
            return model.translator if model else None

    def fits(self, bundle: Bundle) -> bool:
        """Whether there is room for the bundle's model without unloading another."""
        return self.memory is None or self.used + self._size(bundle) <= self.memory

    def lease(self, bundle: Bundle) -> Lease:
        """Claim the bundle's model, which is loaded if it is not in memory. Does not wait; see Lease.ready."""
        with self._changed:
            if (model := self._loaded.pop(bundle.name, None)) is not None:
                self._loaded[bundle.name] = model
            elif (model := self._wanted.get(bundle.name)) is None:
                model = self._wanted[bundle.name] = _Model(bundle)
                if not self._loading:
                    self._loading = True
                    threading.Thread(target=self._load_wanted, name="fmalloc-loader", daemon=True).start()
            claimed = model
            lease = Lease(lambda lease: self._release(claimed, lease))
            model.leases.add(lease)
            if model.translator is not None:
                lease.ready.set_result(model.translator)
            return lease

    def unload(self, bundle: Bundle) -> None:
        """Unload the bundle's model once it is not leased."""
        with self._changed:
            if bundle.name in self._loaded:
                self._dismiss(bundle.name)

    def allow(self, names: Iterable[str]) -> None:
        """Unload all models of other bundles. They can still be leased, but are not kept after that."""
        with self._changed:
            self._allowed = frozenset(names)
            for name in self._loaded.keys() - self._allowed:
                self._dismiss(name)

    def _size(self, bundle: Bundle) -> int:
        return model_bytes(bundle, self._settings.inter_threads)

    def _release(self, model: _Model, lease: Lease) -> None:
        with self._changed:
            model.leases.discard(lease)
            if model.leases:
                return
            name = model.bundle.name
            if self._loaded.get(name) is model and self._allowed is not None and name not in self._allowed:
                self._dismiss(name)
            elif model in self._leaving:
                self._free(model)

    def _dismiss(self, name: str) -> None:
        model = self._loaded.pop(name)
        self._leaving.add(model)
        self._show(model.bundle)
        if not model.leases:
            self._free(model)

    def _free(self, model: _Model) -> None:
        self._leaving.discard(model)
        model.translator = None
        self._metrics.model_bytes.set(self.used)
        self._changed.notify_all()

    def _load_wanted(self) -> None:
        while (model := self._next()) is not None:
            try:
                translator = self._load(model)
            except Exception as error:
                self._fail(model, error)
            else:
                self._keep(model, translator)
                del translator
            del model  # so that it does not stay in memory until the next one comes

    def _next(self) -> _Model | None:
        with self._changed:
            for name, model in list(self._wanted.items()):
                if model.leases:
                    return model
                del self._wanted[name]
            self._loading = False
            return None

    def _load(self, model: _Model) -> Translator:
        size = self._size(model.bundle)
        with self._changed:
            if self.memory is not None:
                self._make_room(size, self.memory)
            model.size = size
            self._metrics.model_bytes.set(self.used)
        began = time.perf_counter()
        model.bundle.verify()
        translator = Translator.load(model.bundle, self._settings)
        self._metrics.stage("load", time.perf_counter() - began)
        return translator

    def _make_room(self, size: int, memory: int) -> None:
        """Unload models until `size` more bytes fit into `memory`, or none is left, and wait for their leases."""
        if size > memory:
            _log.warning("a model takes about %d bytes, more than the limit of %d: it is loaded alone", size, memory)
        # Models in use go last. A dismissed model cannot be leased again, so that it does become free.
        going = sorted(self._loaded, key=lambda name: bool(self._loaded[name].leases))
        while going and sum(model.size for model in self._loaded.values()) + size > memory:
            self._dismiss(going.pop(0))
        self._changed.wait_for(lambda: not self._leaving or self.used + size <= memory)

    def _keep(self, model: _Model, translator: Translator) -> None:
        with self._changed:
            model.translator = translator
            del self._wanted[model.bundle.name]
            self._loaded[model.bundle.name] = model
            self._show(model.bundle)
            for lease in model.leases:
                _settle(lease.ready.set_result, translator)

    def _fail(self, model: _Model, error: Exception) -> None:
        problem = NotReadyError(f"{model.bundle.name} cannot be loaded: {error}")
        problem.__cause__ = error
        with self._changed:
            del self._wanted[model.bundle.name]
            self._metrics.model_bytes.set(self.used)
            for lease in model.leases:
                _settle(lease.ready.set_exception, problem)

    def _show(self, bundle: Bundle) -> None:
        domain = bundle.manifest.domain
        loaded = any(model.bundle.manifest.domain == domain for model in self._loaded.values())
        self._metrics.loaded.labels(domain).set(int(loaded))


def _settle(settle: Callable[[_Outcome], None], outcome: _Outcome) -> None:
    try:
        settle(outcome)
    except InvalidStateError:  # cancelled
        return
