"""Translate every test set with every model, score the translations, and compare models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fmalloc.corpus import Pair, digest, read_corpus, read_pairs
from fmalloc.evaluation.significance import METRICS, Statistics, difference
from fmalloc_export.evaluation.results import (
    Counts,
    ModelDifference,
    ModelScore,
    Results,
    TestSet,
    signatures,
    versions,
)
from fmalloc_export.evaluation.systems import System, Systems, Translating
from fmalloc_shared.commands.progress import bar
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import check_name


@dataclass(frozen=True)
class TestPairs:
    """A named test set; `samples`: whether it is the part of a domain's dev text that a store keeps."""

    __test__ = False

    name: str
    pairs: tuple[Pair, ...]
    samples: bool = False

    @classmethod
    def read(cls, given: str, languages: LanguagePair) -> "TestPairs":
        """Read NAME=PATH, or a path that gives the name too: all pairs of a file, or the test part of a folder.

        Raises:
            FmallocError: it cannot be read, holds no pairs, or its name is not valid.
        """
        name, equals, rest = given.partition("=")
        named = bool(equals) and "/" not in name
        path = Path(rest if named else given)
        return cls(check_name(name if named else _own_name(path)), _test_pairs(path, languages))

    def first(self, sentences: int | None) -> "TestPairs":
        """The first pairs only; all with None."""
        return TestPairs(self.name, self.pairs[:sentences], self.samples)


def _own_name(path: Path) -> str:
    """`it` of corpora/it, corpora/it.tsv and corpora/it/test.tsv."""
    stem = path.name.partition(".")[0]
    return (path.resolve().parent.name if stem == "test" else stem).lower()


def _test_pairs(path: Path, languages: LanguagePair) -> tuple[Pair, ...]:
    if not path.is_dir():
        pairs = read_pairs(path, languages)
    elif any(path.glob("test.*")):
        pairs = read_pairs(path / "test", languages)
    else:
        pairs = read_corpus(path, languages).test
    if not pairs:
        raise FmallocError(f"{path}: no pairs to test with")
    return pairs


@dataclass(frozen=True)
class Evaluation:
    """Models, test sets and search settings; `translations`: a folder for text files MODEL/TEST.txt."""

    systems: Systems
    tests: tuple[TestPairs, ...]
    beam_size: int
    translations: Path | None = None

    def run(self, known: Results | None, on_score: Callable[[Results], None]) -> Results:
        """All scores; those in `known` are not measured again. `on_score` is called with the results after each."""
        results = self.nothing()
        scored = known.by_digest if known and known.alike(results) else {}
        for system in self.systems.systems:
            loaded: Translating | None = None
            for test in self.tests:
                found = scored.get((system.digest, results.tests[test.name].sha256))
                if found is None or not self._translated(system, test):
                    loaded = loaded or system.load()
                    found = self._measure(system, loaded, test)
                names = {"model": system.name, "test": test.name}
                score, counts = (part.model_copy(update=names) for part in found)
                added = {"scores": [*results.scores, score], "statistics": [*results.statistics, counts]}
                results = results.model_copy(update=added)
                on_score(results)
        return results

    def nothing(self) -> Results:
        """Results without scores."""
        return Results(
            kind=self.systems.kind,
            languages=self.systems.languages,
            beam_size=self.beam_size,
            signatures=signatures(),
            versions=versions(),
            models={system.name: system.digest for system in self.systems.systems},
            tests={
                test.name: TestSet(pairs=len(test.pairs), sha256=digest(test.pairs), samples=test.samples)
                for test in self.tests
            },
            scores=[],
            statistics=[],
            differences=[],
        )

    def _file(self, system: System, test: TestPairs) -> Path | None:
        return self.translations / system.name / f"{test.name}.txt" if self.translations else None

    def _translated(self, system: System, test: TestPairs) -> bool:
        """Whether the translations are written already, or not wanted."""
        file = self._file(system, test)
        return file is None or file.is_file()

    def _measure(self, system: System, loaded: Translating, test: TestPairs) -> tuple[ModelScore, Counts]:
        sources, references = [pair.source for pair in test.pairs], [pair.target for pair in test.pairs]
        with bar(f"{system.name} on {test.name}", len(sources)) as advance:
            texts = loaded.translate(sources, self.beam_size, advance)
        if file := self._file(system, test):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, "".join(f"{' '.join(text.split())}\n" for text in texts).encode())
        found = {metric: Statistics.of(metric, texts, references) for metric in METRICS}
        score = ModelScore(
            model=system.name,
            test=test.name,
            bleu=found["bleu"].score(),
            bleu_interval=found["bleu"].interval(),
            chrf=found["chrf"].score(),
            chrf_interval=found["chrf"].interval(),
            nll=loaded.nll(test.pairs),
        )
        counts = {metric: statistics.counts.tolist() for metric, statistics in found.items()}
        return score, Counts(model=system.name, test=test.name, **counts)


def counterparts(models: Sequence[str], others: Sequence[str], where: str) -> dict[str, str]:
    """By model, which of `others` it is compared with: the one of the same name, or the only one.

    Raises:
        FmallocError: there are several others, and no names match.
    """
    if len(others) == 1:
        return dict.fromkeys(models, others[0])
    if not (pairs := {model: model for model in models if model in others}):
        raise FmallocError(
            f"--against {where}: it has {', '.join(others)}, but not {', '.join(models)}; choose one of them with "
            "--task and --output first, and compare with that file"
        )
    return pairs


def common_tests(results: Results, other: Results, where: str) -> list[str]:
    """Names of the test sets that both have, with the same pairs and sacreBLEU signatures.

    Raises:
        FmallocError: there are none.
    """
    shared = [name for name, test in results.tests.items() if other.tests.get(name) == test]
    if not shared:
        raise FmallocError(
            f"--against {where}: no test set in common; it has {', '.join(other.tests)}, here are "
            f"{', '.join(results.tests)}; sets of the same name must have the same pairs (see also --sentences)"
        )
    if results.signatures != other.signatures:
        raise FmallocError(f"--against {where}: scored by {other.signatures}, expected {results.signatures}")
    return shared


def compare_models(results: Results, other: Results, pairs: dict[str, str], where: str = "") -> list[ModelDifference]:
    """Difference of each model from its counterpart in `pairs`, on every common test set.

    `where`: the name of `other`, which goes before its models' names.
    """
    differences = []
    for model, against in pairs.items():
        for test in common_tests(results, other, where):
            ours, theirs = results.counts(model, test), other.counts(against, test)
            for metric in METRICS:
                found = difference(ours.statistics(metric), theirs.statistics(metric))
                differences.append(
                    ModelDifference(
                        model=model,
                        against=f"{where}:{against}" if where else against,
                        test=test,
                        metric=metric,
                        difference=found.value,
                        interval=found.interval,
                        p_value=found.p_value,
                    )
                )
    return differences
