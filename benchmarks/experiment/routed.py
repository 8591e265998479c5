"""Documents of all domains, mixed: sent to a domain by the router, or to the one they are of, or all to general.

`routed` returns, for JSON:

    bundles                         name of the live bundle, by domain
    beam_size, threshold            of the search; of the posterior, below which the router takes general
    lines_per_document              consecutive lines of a test set; the last document of a set may be shorter
    overall, domains.NAME           of all documents, and of those of one domain:
        documents, sentences        numbers of them
        accuracy                    share of the documents that were routed to their own domain
        chosen                      documents by the domain that they were routed to
        scores.routed, .told, .general          `bleu`, `chrf` (0 to 100), `bleu_interval`, `chrf_interval`
        difference.bleu, difference.chrf        routed less told: `value`, `interval`, `p_value` (paired bootstrap)
        lines_differ                lines that are translated otherwise where their domain is told
    misrouted                       as `fmalloc routing costs` measures it, but on test sets:
        lines                       lines of each domain's test set, evenly spaced
        matrix.TEXT.BUNDLE          `bleu` and `chrf` of each bundle on the text of each domain
        expected                    BLEU that a document loses, all domains equally frequent and documents of 1, 3 and
                                    10 lines: `default` as routed, `zero` with the likeliest domain always,
                                    `always_general`, `oracle` with the bundle that translates its domain best
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.common import once
from fmalloc.corpus import Pair, digest
from fmalloc.evaluation.evaluate import MAXIMUM_NEW_TOKENS, score
from fmalloc.evaluation.significance import METRICS, Statistics, difference
from fmalloc_export.evaluation.scoring import TestPairs
from fmalloc_export.routing.costs import Measurement
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.registry import Registry, Snapshot
from fmalloc_runtime.live.translator import EngineSettings
from fmalloc_runtime.routing.router import AUTO
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_shared.commands.progress import bar, console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL

LINES_PER_DOCUMENT = 10
CPU = EngineSettings(device="cpu")
_SCORED = {"bleu", "chrf", "bleu_interval", "chrf_interval"}


@dataclass(frozen=True)
class Documents:
    """Documents of one domain: where each was routed to, and all their lines translated in three ways."""

    domain: str
    chosen: Sequence[str]
    routed: Sequence[str]
    told: Sequence[str]
    general: Sequence[str]

    @classmethod
    def translate(
        cls, served: Snapshot, domain: str, sources: Sequence[str], search: TranslationOptions
    ) -> "Documents":
        """Cut `sources` into documents and have each translated; a line is a sentence, as it was in training."""
        options = TextOptions(splitting="lines", protect=False, search=search)
        chosen: list[str] = []
        texts: dict[str, list[str]] = {AUTO: [], domain: [], GENERAL: []}
        with bar(f"documents of {domain}", len(sources)) as advance:
            for start in range(0, len(sources), LINES_PER_DOCUMENT):
                document = sources[start : start + LINES_PER_DOCUMENT]
                for asked, lines in texts.items():
                    translations, route = served.translate(document, asked, options)
                    lines += [translation.text.strip() for translation in translations]
                    chosen += [route.domain] if asked == AUTO else []
                advance(len(document))
        return cls(domain, chosen, texts[AUTO], texts[domain], texts[GENERAL])

    @property
    def right(self) -> int:
        """How many were routed to their own domain."""
        return sum(chosen == self.domain for chosen in self.chosen)


def routed(
    bundles: Path,
    corpora: Path,
    work: Path,
    *,
    sentences: int | None = None,
    misrouted: int = 200,
    beam_size: int = 4,
) -> dict[str, Any]:
    """Serve the live bundles of a directory, general among them, and translate mixed documents; see above.

    `corpora`: a folder per live domain. `sentences`: the first ones of each test set only. `misrouted`: lines per cell
    of the matrix. Finished domains and cells of the matrix are not translated again.
    """
    served = Registry(bundles, CPU).load()
    live = {domain: bundle.name for domain, bundle in sorted(served.bundles.items())}
    check_routable(live)
    tests = {name: TestPairs.read(f"{name}={corpora / name}", served.languages).first(sentences) for name in live}
    documents = []
    for name, test in tests.items():
        of = [live, digest(test.pairs), beam_size]
        kept = work / f"{name}-{sha256(json.dumps(of).encode()).hexdigest()[:12]}.json"
        documents.append(Documents(**once(kept, partial(_translated, served, test, beam_size))))
    pairs = {name: test.pairs for name, test in tests.items()}
    found = {one.domain: _summary([one], pairs[one.domain]) for one in documents}
    return {
        "bundles": live,
        "beam_size": beam_size,
        "threshold": served.router.threshold,
        "lines_per_document": LINES_PER_DOCUMENT,
        "overall": _summary(documents, [pair for one in documents for pair in pairs[one.domain]]),
        "domains": found,
        "misrouted": misroutes(bundles, corpora, list(live), misrouted, beam_size),
    }


def check_routable(domains: Collection[str]) -> None:
    """FmallocError unless general is among the domains and another one."""
    if GENERAL not in domains or len(domains) < 2:
        found = ", ".join(sorted(domains)) or "none"
        raise FmallocError(f"routing is measured between {GENERAL} and other domains, found {found}")


def misroutes(bundles: Path, corpora: Path, domains: Sequence[str], lines: int, beam_size: int) -> dict[str, Any]:
    """Every live bundle on every domain's test set; `misrouted` of what `routed` returns."""
    texts = {domain: corpora / domain for domain in domains}
    measurement = Measurement.of(bundles, texts, lines=lines, beam_size=beam_size, part="test")
    total = sum(len(measurement.texts[domain].pairs) for _, domain in measurement.missing)
    with bar("wrong domains", total) as advance:
        measurement.complete(CPU, advance)
    costs = measurement.result("bleu")
    expected = costs.simulation.expected.model_dump()
    del expected["chosen"]  # a threshold that was fitted to the test sets
    return {
        "lines": {domain: text.lines for domain, text in costs.texts.items()},
        "matrix": {
            text: {bundle: costs.matrix[bundle][text].model_dump() for bundle in costs.bundles}
            for text in costs.bundles
        },
        "expected": expected,
    }


def _translated(served: Snapshot, test: TestPairs, beam_size: int) -> dict[str, Any]:
    search = TranslationOptions(beam_size, MAXIMUM_NEW_TOKENS)
    found = Documents.translate(served, test.name, [pair.source for pair in test.pairs], search)
    console.print(f"{test.name}: {found.right} of {len(found.chosen)} documents were routed to it", markup=False)
    return asdict(found)


def _summary(documents: Sequence[Documents], pairs: Sequence[Pair]) -> dict[str, Any]:
    references = [pair.target for pair in pairs]
    chosen = Counter(domain for one in documents for domain in one.chosen)
    texts: Mapping[str, list[str]] = {
        "routed": [text for one in documents for text in one.routed],
        "told": [text for one in documents for text in one.told],
        "general": [text for one in documents for text in one.general],
    }
    scores = {name: score(found, references, intervals=True).score for name, found in texts.items()}
    told, routed = texts["told"], texts["routed"]
    return {
        "documents": chosen.total(),
        "sentences": len(pairs),
        "accuracy": sum(one.right for one in documents) / chosen.total(),
        "chosen": dict(sorted(chosen.items())),
        "scores": {name: found.model_dump(include=_SCORED) for name, found in scores.items()},
        "difference": {
            metric: asdict(
                difference(Statistics.of(metric, routed, references), Statistics.of(metric, told, references))
            )
            for metric in METRICS
        },
        "lines_differ": sum(one != other for one, other in zip(routed, told, strict=True)),
    }
