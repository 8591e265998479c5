"""The bundles that are served: a snapshot of verified bundles, replaced as a whole when live.json changes."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fmalloc_runtime.bundle.bundle import LIVE_FILE, Bundle, LiveIndex
from fmalloc_runtime.bundle.signature import TrustedKeys
from fmalloc_runtime.errors import NothingServedError
from fmalloc_runtime.live.loading import ModelCache
from fmalloc_runtime.live.snapshot import Snapshot
from fmalloc_runtime.live.translator import EngineSettings
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.routing.costs import ROUTING_COSTS_FILE, RoutingCosts
from fmalloc_runtime.routing.router import Router
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL
from fmalloc_shared.ngrams import NgramCounts

__all__ = ["Registry", "Snapshot"]
_log = logging.getLogger(__name__)
# Seconds after which a live.json that could not be loaded is tried again: its bundles may arrive after it.
_RETRY = 30.0
_Stamp = tuple[tuple[int, int, int], ...]


class Registry:
    """The bundles directory as a sequence of snapshots; safe to use from several threads.

    `memory`: most bytes of loaded models (None: unlimited); the least recently used is unloaded first.
    `preload`: domains to load at the start (None: as many as fit); the others are loaded on demand.
    `trusted`: whose signature every bundle has to have (None: none is asked for).
    """

    def __init__(
        self,
        bundles: Path,
        settings: EngineSettings | None = None,
        memory: int | None = None,
        preload: Sequence[str] | None = None,
        metrics: Metrics | None = None,
        trusted: TrustedKeys | None = None,
    ) -> None:
        self._bundles, self._trusted = bundles, trusted
        self._metrics = metrics or Metrics()
        self._models = ModelCache(settings, memory, self._metrics)
        self._preload = preload
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._stamp: _Stamp | None = None
        self._failure: str | None = None
        self._failed_at = 0.0

    @property
    def failure(self) -> str | None:
        """Why the last live.json could not be loaded, if so; the snapshot before it stays in service."""
        return self._failure

    def snapshot(self) -> Snapshot:
        """The current snapshot; NotReadyError if none could be loaded yet."""
        if self._snapshot is None:
            raise NothingServedError(self._failure or "bundles are being loaded")
        return self._snapshot

    def load(self) -> Snapshot:
        """Verify the bundles that live.json names and serve them; FmallocError and no change if one is bad."""
        with self._lock:
            return self._load()

    def refresh(self) -> None:
        """Load if anything has changed; errors are logged and kept in `failure`."""
        with self._lock:
            if not self._due():
                return
            try:
                self._load()
            except FmallocError as error:
                _log.error("live.json was not applied: %s", error)

    @contextmanager
    def watch(self, seconds: float) -> Iterator[None]:
        """Refresh at this interval, in a thread, until the block is left."""
        stop = threading.Event()

        def poll() -> None:
            while not stop.wait(seconds):
                try:
                    self.refresh()
                except Exception:
                    _log.exception("live.json could not be checked")

        watcher = threading.Thread(target=poll, name="fmalloc-watcher", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()

    def _due(self) -> bool:
        stamp = self._read_stamp()
        if self._failure is None:
            return self._stamp is None or stamp[:2] != self._stamp[:2]
        return stamp != self._stamp or time.monotonic() - self._failed_at >= _RETRY

    def _load(self) -> Snapshot:
        before, self._stamp = self._snapshot, self._read_stamp()
        try:
            snapshot = self._read(before)
        except Exception as error:
            self._failure, self._failed_at = str(error), time.monotonic()
            self._metrics.reloads.labels("failed").inc()
            self._metrics.failing.set(1)
            self._models.allow(before.names if before else ())
            raise
        self._snapshot, self._failure = snapshot, None
        self._metrics.reloads.labels("ok").inc()
        self._metrics.failing.set(0)
        self._models.allow(snapshot.names)
        self._fill(snapshot)
        return snapshot

    def _read(self, before: Snapshot | None) -> Snapshot:
        index = LiveIndex.of(self._bundles)
        if not index.domains:
            raise FmallocError(f"{self._bundles / LIVE_FILE}: no domain is live: run fmalloc export first")
        known = {bundle.name: bundle for bundle in before.bundles.values()} if before else {}
        bundles = {
            domain: known[name] if name in known else Bundle.read(self._bundles / name, self._trusted)
            for domain, name in sorted(index.domains.items())
        }
        pairs = {bundle.manifest.languages for bundle in bundles.values()}
        if len(pairs) > 1:
            found = ", ".join(sorted(f"{pair.source}-{pair.target}" for pair in pairs))
            raise FmallocError(f"{self._bundles / LIVE_FILE}: expected one language pair, found {found}")
        # A bundle that was verified once stays valid under its name, which is a digest of its content.
        new = [bundle for name, bundle in self._by_importance(bundles) if bundle.name not in known]
        self._models.allow(bundle.name for bundle in (*known.values(), *bundles.values()))
        for bundle in new:
            self._verify(bundle, before)
        counts = {
            domain: before.counts[domain] if before and bundle.name in known else bundle.routing()
            for domain, bundle in bundles.items()
        }
        router = self._router(counts, index)
        return Snapshot(bundles, counts, router, pairs.pop(), self._models)

    def _verify(self, bundle: Bundle, before: Snapshot | None) -> None:
        """Load the bundle, replay its golden translations, and keep its model if it is wanted and fits."""
        domain = bundle.manifest.domain
        wanted = self._preload is None or domain in self._preload
        warm = before is not None and domain in before.bundles and before.loaded(domain) is not None
        keep = (wanted or warm) and self._models.fits(bundle)
        with self._models.lease(bundle) as translator:
            translator.replay_golden()
        if not keep:
            self._models.unload(bundle)

    def _fill(self, snapshot: Snapshot) -> None:
        """Load the models that are wanted and fit into memory."""
        for domain in sorted({*(self._preload or ())} - {*snapshot.bundles}):
            _log.warning("%s is not preloaded: it is not live", domain)
        for domain, bundle in self._by_importance(snapshot.bundles):
            if (self._preload is not None and domain not in self._preload) or snapshot.loaded(domain) is not None:
                continue
            try:
                if self._models.fits(bundle):
                    snapshot.load(domain)
                elif self._preload is not None:
                    _log.warning("%s is not preloaded: it does not fit into memory", domain)
            except FmallocError as error:
                _log.warning("%s is not preloaded: %s", domain, error)

    def _by_importance(self, bundles: Mapping[str, Bundle]) -> list[tuple[str, Bundle]]:
        """In the order of `preload`, then the general domain, which takes uncertain texts, then by name."""
        first = [*(self._preload or ()), GENERAL]
        return sorted(
            bundles.items(), key=lambda item: (first.index(item[0]) if item[0] in first else len(first), item[0])
        )

    def _router(self, counts: Mapping[str, NgramCounts], index: LiveIndex) -> Router:
        costs = RoutingCosts.of(self._bundles)
        if costs and (stale := costs.stale(index.domains)):
            _log.warning("%s", stale)
        return Router.of(counts, index.domains, costs)

    def _read_stamp(self) -> _Stamp:
        """Of live.json, of the routing costs, and of the directory, which changes as bundles come and go."""
        return tuple(map(_stamp, (self._bundles / LIVE_FILE, self._bundles / ROUTING_COSTS_FILE, self._bundles)))


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return status.st_ino, status.st_mtime_ns, status.st_size
