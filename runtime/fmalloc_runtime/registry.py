"""What is served now: a snapshot of loaded bundles, replaced whole when live.json changes."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fmalloc_runtime.bundle import LIVE_FILE, Bundle, Languages, LiveIndex
from fmalloc_runtime.documents import Document
from fmalloc_runtime.engine import TranslationOptions
from fmalloc_runtime.errors import NotReadyError
from fmalloc_runtime.router import AUTO, Route, Router
from fmalloc_runtime.translator import DEFAULT_OPTIONS, EngineSettings, Translator
from fmalloc_shared.errors import FmallocError

_log = logging.getLogger(__name__)
_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Snapshot:
    """Translators by domain and the router between them, all of one language pair."""

    translators: Mapping[str, Translator]
    router: Router
    languages: Languages

    def translate(
        self, texts: Sequence[str], domain: str = AUTO, options: TranslationOptions = DEFAULT_OPTIONS
    ) -> tuple[list[str], Route]:
        """Translate texts line by line, routed over all lines of all texts together; line ends stay as they are.

        Raises UnknownDomainError or InputTooLongError before anything is translated.
        """
        document = Document.of(texts)
        route = self.router.route(document.lines, domain)
        translations = self.translators[route.domain].translate(document.lines, options)
        return document.with_lines([translation.text for translation in translations]), route


class Registry:
    """The bundles directory as a sequence of snapshots; safe to use from several threads."""

    def __init__(self, bundles: Path, settings: EngineSettings | None = None) -> None:
        self._bundles = bundles
        self._settings = settings or EngineSettings()
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._stamp: _Stamp | None = None
        self._failure: str | None = None

    @property
    def failure(self) -> str | None:
        """Why the last live.json could not be loaded, if so; the snapshot before it goes on serving."""
        return self._failure

    def load(self) -> Snapshot:
        """Load what live.json names now; FmallocError, and the snapshot as before, if any bundle of it is bad."""
        with self._lock:
            return self._load()

    def snapshot(self) -> Snapshot:
        """The current snapshot. A changed live.json is loaded first, by one caller: the others are not kept waiting.

        Raises NotReadyError if nothing could be loaded yet.
        """
        if self._changed() and self._lock.acquire(blocking=self._snapshot is None):
            try:
                if self._changed():
                    self._load()
            except FmallocError as error:
                _log.error("live.json not taken over: %s", error)
            finally:
                self._lock.release()
        if self._snapshot is None:
            raise NotReadyError(self._failure or "bundles are being loaded")
        return self._snapshot

    def _load(self) -> Snapshot:
        stamp = self._read_stamp()
        try:
            self._snapshot = self._read()
            self._failure = None
        except FmallocError as error:
            self._failure = str(error)
            raise
        finally:
            self._stamp = stamp
        return self._snapshot

    def _read(self) -> Snapshot:
        index = LiveIndex.of(self._bundles)
        if not index.domains:
            raise FmallocError(f"{self._bundles / LIVE_FILE}: no domain is live: run fmalloc-export first")
        translators = {domain: self._translator(name) for domain, name in sorted(index.domains.items())}
        pairs = {translator.bundle.manifest.languages for translator in translators.values()}
        if len(pairs) > 1:
            found = ", ".join(sorted(f"{pair.source}-{pair.target}" for pair in pairs))
            raise FmallocError(f"{self._bundles / LIVE_FILE}: expected one language pair, found {found}")
        counts = {domain: translator.bundle.routing() for domain, translator in translators.items()}
        return Snapshot(translators, Router(counts, index.domains), pairs.pop())

    def _translator(self, name: str) -> Translator:
        """The loaded bundle `name` of the snapshot before (a name holds its content's digest), or a new one."""
        before = self._snapshot.translators.values() if self._snapshot else ()
        for translator in before:
            if translator.bundle.name == name:
                return translator
        translator = Translator.load(Bundle.open(self._bundles / name), self._settings)
        translator.replay_golden()
        return translator

    def _changed(self) -> bool:
        return self._stamp is None or self._read_stamp() != self._stamp

    def _read_stamp(self) -> _Stamp:
        try:
            status = (self._bundles / LIVE_FILE).stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_ino, status.st_mtime_ns, status.st_size)
