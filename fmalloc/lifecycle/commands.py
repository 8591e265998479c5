"""The verbs of a domain's life after learning; they import what they need when they run, so that help comes at once."""

from pathlib import Path
from typing import Any

import click

from fmalloc_shared.commands.command import Command, echo
from fmalloc_shared.commands.flags import PATH, flag
from fmalloc_shared.commands.outputs import check_file
from fmalloc_shared.files import write_atomically


@click.command("grow", cls=Command)
@click.argument("store", type=PATH, default=Path("store"))
@click.option("--cells", type=click.IntRange(1, 2**20), required=True, help="Free cells that every layer gets.")
@click.option("--seed", default=1, type=click.IntRange(0, 2**32 - 1), help="Seed of the fresh cells' keys.")
@flag("--dry-run")
def grow(store: Path, cells: int, seed: int, dry_run: bool) -> None:
    """Add free cells to a store whose room runs out.

    Every feed-forward layer is widened. Domains that were learned keep their widths, their files and, compiled again,
    every byte of their bundles; the next ones may claim the new cells too. Those contribute nothing until they are
    claimed. STORE is a memory store, ./store by default. Programs that are older than this command refuse a store that
    has grown.

    \b
    Example:
      fmalloc grow store --cells 512
    """
    from fmalloc.lifecycle.grow import grow

    grow(store, cells, seed, dry_run=dry_run)


@click.command("relearn", cls=Command, extra="train")
@click.argument("store", type=PATH)
@click.argument("domain")
@click.option("--data", type=PATH, required=True, help="Parallel text of the domain, read as `fmalloc train` reads it.")
@click.option("--recipe", type=PATH, help="Recipe of `fmalloc train`: its settings, and text of others to score on.")
@click.option("--cold", is_flag=True, help="Begin as any domain does, not as a copy of the version that is current.")
@click.option("--not-current", is_flag=True, help="Leave the version that is current as it is, until `rollback --to`.")
@click.option("--finish", is_flag=True, help="Learn no further: commit the interrupted version at its best so far.")
@flag("--source", help="Source language, as files are named.  [default: the store's]")
@flag("--target", help="Target language, as files are named.  [default: the store's]")
@flag("--device")
@flag("--updates", help="Most updates (learning.updates).  [default: as it was learned]")
@flag("--dry-run")
def relearn(
    store: Path,
    domain: str,
    data: Path,
    recipe: Path | None,
    cold: bool,
    not_current: bool,
    finish: bool,
    source: str | None,
    target: str | None,
    device: str,
    updates: int | None,
    dry_run: bool,
) -> None:
    """Learn a new version of a domain.

    It claims free cells while the present version serves, and becomes what the domain's name means once it is learned
    and scored. The version before stays as it is, to roll back to or to drop. Settings are those that the current one
    was learned with, unless a recipe is given; the new one begins as a copy of it. A run that was killed, or stopped by
    Ctrl-C, goes on with the same command.

    \b
    Example:
      fmalloc relearn store it --data corpora/it-2027
      fmalloc relearn store it --data corpora/it-2027 --recipe recipe.yaml --dry-run
    """
    from fmalloc.lifecycle.relearn import relearn

    given = {"languages.source": source, "languages.target": target, "device": device, "learning.updates": updates}
    relearn(
        store,
        domain,
        data,
        recipe=recipe,
        overrides={key: value for key, value in given.items() if value is not None},
        warm=not cold,
        make_current=not not_current,
        finish=finish,
        dry_run=dry_run,
    )


@click.command("reserve", cls=Command)
@click.argument("store", type=PATH, default=Path("store"))
@click.option("--parts", required=True, type=click.IntRange(2, 1024), help="How many parties there are.")
@flag("--output-dir", default=Path("parts"), help="Folder to make, with a store per part.")
@flag("--dry-run")
def reserve(store: Path, parts: int, output_dir: Path, dry_run: bool) -> None:
    """Divide a store into parts, for those who learn apart.

    Each part is a whole store, a copy of this one, in which only a share of the free cells may be claimed; no cell is
    in two of them. Whoever has a part learns domains into it with `fmalloc train`, elsewhere and without a word of the
    others' text, and `fmalloc merge` unites what was learned. A part is neither grown nor freed of domains: do that
    before, or after the merge. STORE is a memory store, ./store by default, and stays as it is.

    \b
    Example:
      fmalloc reserve store --parts 3 --output-dir parts
      fmalloc train clinic.yaml --store parts/part-1
    """
    from fmalloc.lifecycle.parts.reserve import reserve

    reserve(store, parts, output_dir, dry_run=dry_run)


@click.command("merge", cls=Command)
@click.argument("parts", type=PATH, nargs=-1, required=True)
@flag("--store", help="Memory store to make; must not exist.")
@flag("--dry-run")
def merge(parts: tuple[Path, ...], store: Path, dry_run: bool) -> None:
    """Unite what was learned in parts of a store.

    PARTS are stores that `fmalloc reserve` made of one, as they are after learning. The new store has the tasks of all
    of them, in the order in which the parts are given; every file of a task is the same, and so is every bundle that is
    compiled from it. With some of the parts only, the cells of the others stay reserved, and the new store can be
    merged with them later.

    \b
    Example:
      fmalloc merge parts/part-1 parts/part-2 parts/part-3 --store store
    """
    if len(parts) < 2:
        raise click.UsageError("give the parts that are to be merged, two at least")
    from fmalloc.lifecycle.parts.merge import merge

    merge(parts, store, dry_run=dry_run)


@click.command("verify-certificate", cls=Command)
@click.argument("certificate", type=PATH)
@click.argument("store", type=PATH, default=Path("store"))
@click.option("--head", help="A head of the store that was written down before: it has to be in the chain.")
def verify_certificate(certificate: Path, store: Path, head: str | None) -> None:
    """Check that a domain was freed as its certificate says.

    It needs the certificate that `fmalloc free` wrote, and the store or a copy of it. The store is read as a whole;
    the certificate has to be a record of its chain; the domain's files have to be gone; what its certificate says that
    stayed has to be there, or be freed by a later certificate.

    \b
    Example:
      fmalloc verify-certificate certificate.json store
    """
    from fmalloc.lifecycle.certify import verify_certificate

    verify_certificate(certificate, store, head)


@click.command("correct", cls=Command, extra="train")
@click.argument("store", type=PATH)
@click.argument("domain")
@click.option(
    "--from", "corrections", type=PATH, required=True, help="Corrections: TSV, TMX, or a server's log of them."
)
@click.option("--data", type=PATH, help="The domain's own text, learned along, with the dev text to judge by.")
@click.option("--replay", default=4, type=click.IntRange(0), help="Pairs of --data that are learned per correction.")
@flag("--updates", default=60)
@click.option(
    "--rate-scale",
    default=0.1,
    type=click.FloatRange(0, min_open=True),
    help="Share of the rates that the domain was learned at: it only has a little to learn.",
)
@flag("--sentences", default=200)
@flag("--beam-size")
@flag("--device")
@flag("--output", help="File to write what the gate measured to, as JSON.")
@flag("--dry-run")
def correct(store: Path, domain: str, output: Path | None, dry_run: bool, **settings: Any) -> None:
    """Learn a domain's next version from corrections.

    It becomes current if it passes a gate, measured beside the current one; else it is deleted.

    Corrections are pairs of a source and its right translation: post-edits of the day, or what
    `fmalloc serve --corrections` kept. Garbage is left out: by rules, and by what the current version thinks of it. A
    tenth is held out; the rest is learned, with some of the domain's own text (--data), in a few updates on a copy of
    the current version. Without --data the store's sample sentences are what the gate judges by.

    The gate: BLEU and chrF of the domain's dev text not lower beyond chance (paired bootstrap); of the corrections that
    were learned, more nearer than farther beyond chance, or more right than before; of those held out, no more farther
    than nearer beyond chance; every other file of the store the same. A version that does not pass is deleted, and the
    exit code is 1.

    \b
    Example:
      fmalloc correct store it --from corrections.tsv --data corpora/it
      fmalloc correct store it --from /var/lib/fmalloc/corrections --data corpora/it --output tonight.json
    """
    from fmalloc.lifecycle.corrections.correct import Request, correct
    from fmalloc.lifecycle.wording import verdict_text

    if output:
        check_file(output)
    verdict = correct(Request(store, domain, **settings), dry_run=dry_run)
    if verdict is None:
        return
    if output:
        write_atomically(output, verdict.to_bytes())
    echo(verdict_text(verdict))
    if not verdict.passed:
        raise click.exceptions.Exit(1)
