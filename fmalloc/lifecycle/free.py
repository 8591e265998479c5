"""fmalloc free: a domain is deleted from a store, with a certificate; the part that needs no compiler."""

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from fmalloc.lifecycle.freeing import certificate_of, complete, free, readers_of
from fmalloc.lifecycle.wording import certificate_text
from fmalloc.store.chain.certificate import FREED, Certificate
from fmalloc.store.chain.versions import asked, domain_of, named
from fmalloc.store.store import Store, writing
from fmalloc_shared.commands.command import echo
from fmalloc_shared.commands.outputs import check_file, readable
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically

Ask = Callable[[str], object]
Withdraw = Callable[[frozenset[str]], Sequence[str]]


@dataclass(frozen=True)
class Bundles:
    """Compiled bundles that go with a task: by SHA-256 of the records that they were compiled from.

    `named`: those there are; `withdraw` deletes them, and returns what it did, in words.
    """

    named: Withdraw
    withdraw: Withdraw


def free_tasks(
    path: Path,
    names: Sequence[str],
    *,
    cascade: bool,
    dry_run: bool,
    ask: Ask | None,
    output: Path | None,
    bundles: Bundles | None,
) -> None:
    """Free tasks of the store at `path`; `ask` is called with a question before, and ends what must not go on.

    `cascade`: those that read them too. `output`: where to copy the certificate to. Tasks that were freed before are
    not freed again, but their bundles and what a kill left of them go.

    Raises FmallocError if others read them, or their values are found elsewhere in the store.
    """
    if output:
        check_file(output)
    if dry_run:
        found = Store.open(path)
        found.verify()
        _plan(found, names, cascade=cascade, bundles=bundles)
        return
    with writing(path):
        store = Store.open(path)
        complete(store)
        if before := _freed_before(store, names):
            number, certificate = before
        else:
            store.verify()
            certificate = _plan(store, names, cascade=cascade, bundles=bundles)
            if ask:
                ask("free this for good?")
            free(store, certificate)
            number = len(store.chain().certificates)
    file = path / FREED / f"{number}.json"
    if bundles:
        for line in bundles.withdraw(frozenset(task.record for task in certificate.freed)):
            echo(line)
    echo(certificate_text(certificate))
    echo(f"certificate {file}")
    if output:
        if output.suffix == ".json":
            shutil.copyfile(file, output)
        else:
            write_atomically(output, f"{certificate_text(certificate)}\n".encode())
        echo(f"copied to {output}")


def tasks_of(store: Store, names: Sequence[str]) -> list[str]:
    """The tasks that go: all versions of `it`, that one version of `it@1`.

    Raises FmallocError for unknown ones, and for the current version of a domain that has others.
    """
    found: dict[str, None] = {}
    for name in names:
        task = store.resolve(name)
        versions = [record.name for record in store.versions(domain_of(task))]
        if name == domain_of(task):
            found |= dict.fromkeys(versions or [task])
            continue
        if len(versions) > 1 and store.resolve(domain_of(task)) == task:
            raise FmallocError(
                f"{store.path}: {name} is what {domain_of(task)!r} means now; make another version current first with "
                f"`fmalloc rollback {store.path} {domain_of(task)} --to N`, or free all with "
                f"`fmalloc free {store.path} {domain_of(task)}`"
            )
        found[task] = None
    return list(found)


def _plan(store: Store, asked_for: Sequence[str], *, cascade: bool, bundles: Bundles | None) -> Certificate:
    names = tasks_of(store, asked_for)
    readers = readers_of(store, names)
    if readers and not cascade:
        raise FmallocError(
            f"{store.path}: {', '.join(names)}: read by {', '.join(readers)}, which would be other models without it; "
            "free them too (`fmalloc free` with --cascade), or none"
        )
    everything = [task.name for task in store.tasks() if task.name in {*names, *readers}]
    chain = store.chain()
    records = frozenset(chain.digests[f"tasks/{name}/task.json"] for name in everything)
    certificate = certificate_of(store, everything, bundles.named(records) if bundles else ())
    for task in certificate.freed:
        also = f", read by no other; with --cascade, for it reads {', '.join(names)}" if task.name in readers else ""
        echo(f"{task.name}: {sum(task.cells.values())} cells, {task.files} files, {readable(task.bytes)}{also}")
    for name in certificate.bundles:
        echo(f"bundle {name}")
    return certificate


def _freed_before(store: Store, names: Sequence[str]) -> tuple[int, Certificate] | None:
    """The last certificate of all these names, if none of them is there now."""

    def covers(tasks: Collection[str], name: str) -> bool:
        domain, number = asked(name)
        return any(named(domain, number) == task if number else domain == domain_of(task) for task in tasks)

    if any(covers([task.name for task in store.tasks()], name) for name in names):
        return None
    for number, certificate in reversed([*enumerate(store.chain().certificates, start=1)]):
        if all(covers([task.name for task in certificate.freed], name) for name in names):
            return number, certificate
    return None
