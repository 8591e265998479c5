"""The whole way in a few minutes: learn three domains, compile them, serve them. Run it with `make demo`.

A base model is pretrained on everyday sentences; then come software manuals, chess and the workshop, in which the same
German words mean something else. Ends with what it proves; exits with 1 if any of that does not hold.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import sacrebleu
from rich.console import Console
from rich.table import Table

from benchmarks.compiler.speed import compare
from benchmarks.compiler.unsliced import emit_unsliced
from examples.serving import LINES_A_DOCUMENT, Client, documents, routing_accuracy, served, translations
from fmalloc.corpus import Pair, read_corpus
from fmalloc.evaluation.matrix import Matrix
from fmalloc.report.status import cells_table, matrix_table
from fmalloc.store.store import Store
from fmalloc_runtime.bundle.bundle import LiveIndex
from fmalloc_runtime.bundle.manifest import MANIFEST_FILE, Manifest
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer
from fmalloc_shared.files import sha256_files
from fmalloc_shared.languages import LanguagePair

TOY = Path(__file__).resolve().parent / "toy"
FMALLOC = Path(sys.executable).parent / "fmalloc"
GENERAL, FIRST, SECOND = "general", "it", "chess"
DOMAINS = (GENERAL, FIRST, SECOND, "workshop")
SINGLE_SENTENCES = 50
EXAMPLES = (
    "Der Speicher ist voll.",
    "Der Läufer ist frei.",
    "Den Hahn mit dem Tuch reinigen.",
    "Mein Läufer ist müde.",
)
console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


@dataclass(frozen=True)
class Claim:
    """Something that has to hold at the end."""

    name: str
    found: str
    goal: str
    met: bool


def run(*arguments: str) -> None:
    """Run the command in the working directory, as a user would."""
    console.print(f"[bold]$ fmalloc {' '.join(arguments)}[/]")
    subprocess.run([FMALLOC, *arguments], check=True)


def pretrain() -> None:
    """A small base model, from scratch."""
    shape = "--vocab-size 1000 --d-model 96 --encoder-layers 2 --decoder-layers 2 --heads 4 --ffn 512"
    schedule = "--updates 400 --batch-tokens 1500 --learning-rate 3e-3 --warmup-updates 150 --validate-every 100"
    schedule += " --cooldown 0 --average 0 --validation-sentences 0"
    paths = "--train corpus/general --output-dir base --device cpu"
    run("pretrain", *f"{paths} {shape} {schedule}".split())


def learn_and_be_killed() -> None:
    """Learn until the second task is in the store; then the process is killed, as a power cut would."""
    recipe = TOY / "recipe.yaml"
    console.print(f"[bold]$ fmalloc train {recipe.name}[/]   (and kill -9 after {SECOND})")
    with subprocess.Popen([FMALLOC, "train", recipe], stdout=subprocess.DEVNULL) as learning:
        while learning.poll() is None and not Path("store/tasks", SECOND).is_dir():
            time.sleep(0.1)
        if learning.poll() is not None:
            raise RuntimeError(f"fmalloc train ended with {learning.returncode} before it could be killed")
        learning.kill()


def learn_the_rest() -> Store:
    """The same command again goes on where the killed one was."""
    recipe = TOY / "recipe.yaml"
    console.print(f"[bold]$ fmalloc train {recipe.name}[/]   (again)")
    subprocess.run([FMALLOC, "train", recipe], check=True, stdout=subprocess.DEVNULL)
    return Store.open(Path("store"))


def bundle(directory: str, domain: str) -> Path:
    """The bundle that serves the domain."""
    return Path(directory, LiveIndex.of(Path(directory)).domains[domain])


def digest(directory: Path) -> str:
    """SHA-256 over the names and digests of all files below a directory."""
    listing = "".join(f"{digest}  {name}\n" for name, digest in sha256_files(directory).items())
    return sha256(listing.encode()).hexdigest()


def check_unchanged(before: dict[str, str], after: dict[str, str]) -> list[Claim]:
    """Compare directories' digests before and after later learning."""
    for name in before:
        console.print(f"{name}\n  before {before[name]}\n  after  {after[name]}")
    same = {name: before[name] == after[name] for name in before}
    return [
        Claim(f"{name}, before and after later learning", "equal" if equal else "different", "equal", equal)
        for name, equal in same.items()
    ]


def check_memory(store: Store) -> Claim:
    """Show the matrix and the cells; nothing may be forgotten."""
    console.print(matrix_table(store), cells_table(store))
    tasks = store.tasks()
    lost = Matrix.of([task.name for task in tasks], [task.scores for task in tasks]).forgetting_ratio()
    return Claim("forgetting", "–" if lost is None else f"{lost:.2%}", "exactly 0", lost == 0)


def check_serving(client: Client, tests: dict[str, list[Pair]]) -> list[Claim]:
    """Route and translate all domains' test sets over HTTP."""
    texts = {domain: [pair.source for pair in pairs] for domain, pairs in tests.items()}
    by_sentence = routing_accuracy(client, {domain: lines[:SINGLE_SENTENCES] for domain, lines in texts.items()}, 1)
    by_document = routing_accuracy(client, texts, LINES_A_DOCUMENT)
    table = Table("text", "general model", "domain's model", "routed", "sentences", "documents")
    table.title = "BLEU as served, and what the router finds"
    for domain, pairs in tests.items():
        references = [target for group in documents([pair.target for pair in pairs]) for target in group]
        scores = (
            sacrebleu.corpus_bleu(translations(client, texts[domain], asked), [references]).score
            for asked in (GENERAL, domain, "auto")
        )
        shares = (f"{accuracy[domain]:.1%}" for accuracy in (by_sentence, by_document))
        table.add_row(domain, *(f"{score:.2f}" for score in scores), *shares)
    console.print(table)
    sentences, found = (sum(accuracy.values()) / len(accuracy) for accuracy in (by_sentence, by_document))
    return [
        Claim("routing, single sentences", f"{sentences:.1%}", "-", True),
        Claim(f"routing, documents of {LINES_A_DOCUMENT} lines", f"{found:.1%}", "at least 90 %", found >= 0.9),
    ]


def show_examples(client: Client) -> None:
    """Words that mean something else in their domain."""
    table = Table("sentence", "general model", "router takes it for", "so it is", title="For example")
    for source in EXAMPLES:
        routed = client.translate([source])
        table.add_row(source, *client.translate([source], GENERAL).translations, routed.domain, *routed.translations)
    console.print(table)


def measure_speed(store: Store, lines: list[str]) -> Claim:
    """One domain, sliced and unsliced."""
    sliced = bundle("bundles", FIRST)
    models = {"sliced": sliced / "model", "unsliced": emit_unsliced(store, FIRST, Path("unsliced"))}
    sources = [Tokenizer.load(sliced / "tokenizer").encode(line) for line in lines]
    ratios = compare(models, sources, batch=8, repeats=9, output_tokens=12).ratios("unsliced", "sliced")
    found = f"{statistics.median(ratios):.2f} x as fast ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return Claim("sliced against unsliced model", found, "-", True)


def compact() -> Claim:
    """The smallest model of a domain that is about as good; a hundred short sentences cannot tell a point of BLEU."""
    bound = "--max-quality-drop 1 --allow-quality-drop"
    run(
        "export",
        *f"--task {FIRST} -O2 --quantization int8 --calibration corpus/{FIRST} --output-dir small {bound}".split(),
    )
    manifest = Manifest.read(bundle("small", FIRST) / MANIFEST_FILE)
    before = sum(Manifest.read(bundle("bundles", FIRST) / MANIFEST_FILE).widths.values())
    lost = f", {manifest.quality.bleu_drop.value:+.2f} BLEU lost" if manifest.quality else ""
    return Claim("-O2 int8", f"{sum(manifest.widths.values())} of {before} cells{lost}", "-", True)


def demonstrate() -> list[Claim]:
    """All steps, in the current directory."""
    subprocess.run([sys.executable, TOY / "make_corpus.py", "corpus"], check=True)
    pretrain()
    learn_and_be_killed()
    run("export", "--task", FIRST, "--output-dir", "early")
    task = Path("store/tasks", FIRST)
    before = {f"memory of {FIRST}": digest(task), f"bundle of {FIRST}": digest(bundle("early", FIRST))}
    store = learn_the_rest()
    run("export", "--all")
    after = {f"memory of {FIRST}": digest(task), f"bundle of {FIRST}": digest(bundle("bundles", FIRST))}
    tests = {name: list(read_corpus(Path("corpus", name), LanguagePair("de", "en")).test) for name in DOMAINS}
    claims = [check_memory(store), *check_unchanged(before, after)]
    with served(FMALLOC, Path("bundles")) as client:
        show_examples(client)
        claims += check_serving(client, tests)
    return [*claims, compact(), measure_speed(store, [pair.source for pair in tests[FIRST]])]


def main() -> int:
    """Run in an emptied working directory and print what holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work-dir", type=Path, default=Path(".work/demo"), help="emptied first (default: %(default)s)"
    )
    work_dir = parser.parse_args().work_dir
    shutil.rmtree(work_dir, ignore_errors=True)
    work_dir.mkdir(parents=True)
    os.chdir(work_dir)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # so small a model is fastest on one thread
    start = time.monotonic()
    claims = demonstrate()
    table = Table("what", "found", "has to be", "", title=f"Done in {time.monotonic() - start:.0f} s")
    for claim in claims:
        table.add_row(claim.name, claim.found, claim.goal, "" if claim.goal == "-" else "yes" if claim.met else "NO")
    console.print(table)
    return 0 if all(claim.met for claim in claims) else 1


if __name__ == "__main__":
    sys.exit(main())
