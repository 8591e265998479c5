"""What `fmalloc eval` does: score the models of a store, of bundles or of a folder, and compare them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from fmalloc.model.devices import DeviceName
from fmalloc_export.evaluation.results import ModelDifference, Results
from fmalloc_export.evaluation.scoring import Evaluation, TestPairs, common_tests, compare_models, counterparts
from fmalloc_export.evaluation.systems import Systems
from fmalloc_export.evaluation.tables import print_results
from fmalloc_shared.commands.command import echo
from fmalloc_shared.commands.outputs import check_file, check_folder
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair, short_code


def _tests(systems: Systems, given: Sequence[str], sentences: int | None) -> tuple[TestPairs, ...]:
    if given:
        tests = [TestPairs.read(value, systems.languages) for value in given]
    else:
        tests = [TestPairs(domain, pairs, samples=True) for domain, pairs in systems.samples.items()]
    if not tests:
        raise FmallocError("no test set: give --test NAME=PATH; only a memory store may keep samples")
    names = [test.name for test in tests]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise FmallocError(f"--test {twice[0]}: given twice; give one of them another name with NAME=PATH")
    return tuple(test.first(sentences) for test in tests)


def _known(output: Path) -> Results:
    """Earlier results, to which this run adds; FmallocError, and the file stays, if it holds anything else."""
    try:
        return Results.read(output)
    except FmallocError as error:
        first, *_ = str(error).splitlines()
        raise FmallocError(
            f"--output {output}: exists, but is not a results file to add to; choose another name ({first})"
        ) from error


class _Against:
    """What the models are compared with: one of them, earlier results, or other models on the same test sets."""

    def __init__(self, given: str, evaluation: Evaluation, device: DeviceName) -> None:
        names = [system.name for system in evaluation.systems.systems]
        self.own, self.where = given in names, Path(given).resolve().name
        self.results: Results | None = None
        self.evaluation: Evaluation | None = None
        if self.own:
            self.pairs = {name: given for name in names if name != given}
        elif Path(given).is_file():
            self.results = Results.read(Path(given))
            common_tests(evaluation.nothing(), self.results, given)
            if self.results.beam_size != evaluation.beam_size:
                console.print(
                    f"{given} was measured with --beam-size {self.results.beam_size}, not {evaluation.beam_size}"
                )
            self.pairs = counterparts(names, list(self.results.models), given)
        elif Path(given).is_dir():
            systems = Systems.find(Path(given), languages=evaluation.systems.languages, device=device)
            if [*map(short_code, systems.languages)] != [*map(short_code, evaluation.systems.languages)]:
                raise FmallocError(f"--against {given}: it translates {'-'.join(systems.languages)}")
            self.pairs = counterparts(names, [system.name for system in systems.systems], given)
            needed = tuple(system for system in systems.systems if system.name in self.pairs.values())
            self.evaluation = replace(evaluation, systems=replace(systems, systems=needed), translations=None)
        else:
            raise FmallocError(f"--against {given}: expected a file, a folder, or one of {', '.join(names)}")

    def differences(self, results: Results) -> list[ModelDifference]:
        """Compare the complete `results`."""
        if self.own:
            return compare_models(results, results, self.pairs)
        if self.evaluation is not None:
            console.print(f"{self.where}: on the same test sets")
            self.results = self.evaluation.run(None, lambda _results: None)
        assert self.results is not None, "read or measured"
        return compare_models(results, self.results, self.pairs, self.where)


def evaluate_models(
    model: Path,
    names: Sequence[str],
    tests: Sequence[str],
    beam_size: int,
    sentences: int | None,
    against: str | None,
    output: Path | None,
    translations: Path | None,
    device: DeviceName,
    languages: LanguagePair | None,
    *,
    dry_run: bool = False,
) -> None:
    """Score the models called `names`, or all, print the results, and write them to `output`.

    `dry_run`: check everything, say what would be scored, and stop.
    """
    if output:
        check_file(output)
    systems = Systems.find(model, names, languages, device)
    if translations:
        for system in systems.systems:
            check_folder(translations / system.name)
    evaluation = Evaluation(systems, _tests(systems, tests, sentences), beam_size, translations)
    other = _Against(against, evaluation, device) if against else None
    known = _known(output) if output and output.exists() else None
    evaluation.nothing()  # needs the versions of all libraries
    if dry_run:
        for test in evaluation.tests:
            echo(f"{test.name}: {len(test.pairs)} pairs, {', '.join(system.name for system in systems.systems)}")
        return

    def keep(results: Results) -> None:
        if output:
            results.write(output)

    try:
        results = evaluation.run(known, keep)
        if other:
            results = results.model_copy(update={"differences": other.differences(results)})
    except KeyboardInterrupt:
        if output:
            raise
        echo("interrupted: with --output FILE, what is finished is kept", err=True)
        raise click.exceptions.Exit(130) from None
    keep(results)
    print_results(results)
