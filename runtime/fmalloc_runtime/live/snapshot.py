"""The bundles that are live together: routed between, loaded on demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.live.loading import Lease, ModelCache
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.routing.router import AUTO, Route, Router
from fmalloc_runtime.text.pipeline import plain_lines
from fmalloc_runtime.text.translation import TextOptions, TextTranslation
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.ngrams import NgramCounts


@dataclass(frozen=True)
class Snapshot:
    """Verified bundles and their n-gram counts by domain, all of one language pair, and the router between them.

    Immutable except for `models`, the cache of loaded models that all snapshots of a registry share.
    """

    bundles: Mapping[str, Bundle]
    counts: Mapping[str, NgramCounts]
    router: Router
    languages: LanguagePair
    models: ModelCache

    @property
    def names(self) -> frozenset[str]:
        """Names of the bundles."""
        return frozenset(bundle.name for bundle in self.bundles.values())

    def loaded(self, domain: str) -> Translator | None:
        """The domain's model, if it is in memory."""
        return self.models.loaded(self.bundles[domain])

    def lease(self, domain: str) -> Lease:
        """Claim the domain's model, which is loaded if it is not in memory. Does not wait for it."""
        return self.models.lease(self.bundles[domain])

    def load(self, domain: str) -> Translator:
        """The domain's model, loaded if it is not in memory; NotReadyError if it cannot be.

        It stays in memory as long as the caller holds it; once unloaded, it no longer counts against the limit.
        """
        with self.lease(domain) as translator:
            return translator

    def translate(
        self, texts: Sequence[str], domain: str = AUTO, options: TextOptions | None = None
    ) -> tuple[list[TextTranslation], Route]:
        """Translate texts, routed over all of them together, in the calling thread.

        Raises UnknownDomainError before anything is translated, NotReadyError if the domain cannot be loaded.
        """
        options = options or TextOptions()
        route = self.router.route(plain_lines(texts, options), domain)
        with self.lease(route.domain) as translator:
            return translator.translate_texts(texts, options), route
