"""fmalloc-eval: score the models of a store, of bundles or of a folder on any test set, and compare them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from fmalloc.model.devices import DeviceName
from fmalloc.progress import console
from fmalloc_export.evaluation.results import ModelDifference, Results
from fmalloc_export.evaluation.scoring import Evaluation, TestPairs, common_tests, compare_models, counterparts
from fmalloc_export.evaluation.systems import Systems
from fmalloc_export.evaluation.tables import print_results
from fmalloc_shared.command import Command
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

_PATH = click.Path(path_type=Path)


def _tests(systems: Systems, given: Sequence[str], sentences: int | None) -> tuple[TestPairs, ...]:
    if given:
        tests = [TestPairs.read(value, systems.languages) for value in given]
    else:
        tests = [TestPairs(domain, pairs, samples=True) for domain, pairs in systems.samples.items()]
    if not tests:
        raise FmallocError("no test set: give --test NAME=PATH; only a memory store may keep samples of its own")
    names = [test.name for test in tests]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise FmallocError(f"--test {twice[0]}: given twice; name one of them otherwise with NAME=PATH")
    return tuple(test.first(sentences) for test in tests)


def _languages(source: str | None, target: str | None) -> LanguagePair | None:
    if (source is None) != (target is None):
        raise click.UsageError("--source and --target go together")
    return LanguagePair(source, target) if source and target else None


def _known(output: Path) -> Results:
    """Results of before, which this run adds to; anything else is not replaced."""
    try:
        return Results.read(output)
    except FmallocError as error:
        first, *_ = str(error).splitlines()
        raise FmallocError(
            f"--output {output}: exists, and holds no results to add to; choose another name ({first})"
        ) from error


class _Against:
    """What the models are compared with: one of them, results of before, or other models on the same test sets."""

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
                console.print(f"{given} was measured with --beam {self.results.beam_size}, not {evaluation.beam_size}")
            self.pairs = counterparts(names, list(self.results.models), given)
        elif Path(given).is_dir():
            systems = Systems.find(Path(given), languages=evaluation.systems.languages, device=device)
            if systems.languages != evaluation.systems.languages:
                raise FmallocError(f"--against {given}: it translates {'-'.join(systems.languages)}")
            self.pairs = counterparts(names, [system.name for system in systems.systems], given)
            needed = tuple(system for system in systems.systems if system.name in self.pairs.values())
            self.evaluation = replace(evaluation, systems=replace(systems, systems=needed), translations=None)
        else:
            raise FmallocError(f"--against {given}: neither a file, nor a folder, nor one of {', '.join(names)}")

    def differences(self, results: Results) -> list[ModelDifference]:
        """Compare the results, once they are complete."""
        if self.own:
            return compare_models(results, results, self.pairs)
        if self.evaluation is not None:
            console.print(f"{self.where}: on the same test sets")
            self.results = self.evaluation.run(None, lambda _results: None)
        assert self.results is not None, "read or measured"
        return compare_models(results, self.results, self.pairs, self.where)


@click.command(cls=Command)
@click.argument("model", type=_PATH)
@click.option(
    "--task",
    "--domain",
    "names",
    multiple=True,
    metavar="NAME",
    help="A model of a store or of bundles; repeat it. In a store, base is the untouched base.  [default: all]",
)
@click.option(
    "--test",
    "tests",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Parallel text: all of a file, or the test part of a folder; repeat it.  [default: a store's dev samples]",
)
@click.option("--beam", type=click.IntRange(1, 64), default=4, show_default=True)
@click.option("--sentences", type=click.IntRange(1), help="Only the first ones of each test set.")
@click.option("--against", metavar="NAME|FILE|FOLDER", help="Compare with one of the models, results, or other models.")
@click.option("--output", type=_PATH, help="Write results as JSON; what it holds already is not translated again.")
@click.option("--translations", type=_PATH, help="Write translations as text to this folder, MODEL/TEST.txt.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--source", help="Source language, where a model's tokenizer does not tell.")
@click.option("--target", help="Target language.")
def main(
    model: Path,
    names: tuple[str, ...],
    tests: tuple[str, ...],
    beam: int,
    sentences: int | None,
    against: str | None,
    output: Path | None,
    translations: Path | None,
    device: DeviceName,
    source: str | None,
    target: str | None,
) -> None:
    """Score every model of MODEL on every test set: BLEU and chrF with 95 % intervals, and the NLL.

    MODEL is a memory store, a directory of bundles, one bundle, or a model as transformers saves it. Models of a store
    and of transformers are searched with PyTorch; bundles as the server runs them, where a line is a sentence and
    nothing in it is protected. --against tests by paired bootstrap whether scores differ.

    \b
    fmalloc-eval store --test it=corpora/it --test law=corpora/law --output results.json
    fmalloc-eval store --task it --task general --test corpora/it --against general
    fmalloc-eval bundles --test corpora/it --against results.json
    """
    systems = Systems.find(model, names, _languages(source, target), device)
    evaluation = Evaluation(systems, _tests(systems, tests, sentences), beam, translations)
    other = _Against(against, evaluation, device) if against else None
    known = _known(output) if output and output.exists() else None

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
        click.echo("interrupted: with --output FILE, what is finished is kept", err=True)
        raise click.exceptions.Exit(130) from None
    keep(results)
    print_results(results)


if __name__ == "__main__":
    main()
