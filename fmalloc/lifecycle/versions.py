"""Another version of a domain becomes current, by a record of the chain and nothing else."""

from pathlib import Path

from fmalloc.lifecycle.freeing import complete
from fmalloc.store.chain.versions import number_of
from fmalloc.store.store import Store, writing
from fmalloc_shared.commands.command import echo
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL, check_name


def set_current(path: Path, name: str) -> None:
    """Make a version, such as `it@1`, current; nothing is done if it is so already."""
    with writing(path):
        store = Store.open(path)
        complete(store)
        store.choose(store.resolve(name))


def version_before(store: Store, domain: str) -> str:
    """The task that was the version before the current one; FmallocError if none is there."""
    now = store.resolve(domain)
    if earlier := [task.name for task in store.versions(domain) if number_of(task.name) < number_of(now)]:
        return earlier[-1]
    raise FmallocError(f"{store.path}: version {number_of(now)} of {domain!r} is current, and no earlier one is there")


def roll_back(path: Path, domain: str, number: int | None = None, *, dry_run: bool = False) -> str:
    """Make a version of a domain current: of this number, or the one before the current; returns its task's name.

    Raises FmallocError if it is not there.
    """
    store = Store.open(path)
    if check_name(domain) == GENERAL:
        raise FmallocError(f"{path}: {GENERAL} is the pruned base, which has no versions")
    now = store.resolve(domain)
    chosen = store.resolve(f"{domain}@{number}") if number else version_before(store, domain)
    if not dry_run:
        set_current(path, f"{domain}@{number_of(chosen)}")
        echo(f"{domain}: version {number_of(chosen)} is current; before, it was {number_of(now)}")
    return chosen
