"""fmalloc verify-certificate: whether a certificate of a freeing is true, by nothing but the store."""

from collections.abc import Callable, Iterator
from pathlib import Path

from fmalloc.store.chain.certificate import Certificate
from fmalloc.store.chain.chain import Chain
from fmalloc.store.chain.proof import problems_of
from fmalloc.store.store import Store
from fmalloc_shared.commands.command import echo
from fmalloc_shared.errors import FmallocError

Check = tuple[str, Callable[[], str]]


def verify_certificate(path: Path, store: Path, head: str | None) -> None:
    """Check a certificate against a store, and print the findings; FmallocError if any check fails.

    `head`: one that somebody wrote down; it has to be in the chain.
    """
    certificate, opened = Certificate.read(path), Store.open(store)
    failed = []
    for name, check in _checks(certificate, opened, head):
        try:
            echo(f"{name:<8} {check()}")
        except FmallocError as error:
            echo(f"{name:<8} FAILED: {error}")
            failed.append(name)
    if failed:
        raise FmallocError(f"{path}: not true of {store}: {', '.join(failed)}")


def _checks(certificate: Certificate, store: Store, head: str | None) -> Iterator[Check]:
    chain = store.chain()
    names = ", ".join(task.name for task in certificate.freed)

    def whole() -> str:
        return f"{store.verify()} files of the store are as its records say"

    def in_chain() -> str:
        place = _place(certificate, chain)
        return f"head {certificate.before} before, {chain.heads[place + 1]} after, {_since(chain, place + 1)}"

    def gone() -> str:
        _number(certificate, chain)
        if left := {task.name for task in certificate.freed} & {*chain.leftovers}:
            raise FmallocError(f"{', '.join(sorted(left))}: the files are still there; run `fmalloc free` again")
        return f"{names}: no file, no cell and no routing count is left"

    def kept() -> str:
        number = _number(certificate, chain)
        if problems := list(problems_of(chain, number, store.cells())):
            raise FmallocError("\n".join(problems))
        there = {task.name for task in chain.tasks}
        later = sorted({*certificate.kept} - there - {"general"})
        return f"{', '.join(certificate.kept)} unchanged" + (f"; freed since: {', '.join(later)}" if later else "")

    def known() -> str:
        if head in chain.merged_heads:
            return f"{head} is a head of a store that was merged into this one: {chain.merged_heads[str(head)]}"
        if head not in chain.heads:
            raise FmallocError(f"{head} was never a head of this store: something before it was changed")
        place = chain.heads.index(head)
        return f"{head} is in the chain: all {place} records up to it are there, or freed; {_since(chain, place)}"

    yield "store", whole
    yield "chain", in_chain
    yield "freed", gone
    yield "kept", kept
    if head:
        yield "head", known


def _number(certificate: Certificate, chain: Chain) -> int:
    """Which of the chain's certificates it is, from 1."""
    if certificate not in chain.certificates:
        raise FmallocError(
            f"no record of this store: it has {len(chain.certificates)} certificates, and this is none of them"
        )
    return chain.certificates.index(certificate) + 1


def _place(certificate: Certificate, chain: Chain) -> int:
    """Where its link is in the chain."""
    number = str(_number(certificate, chain))
    return next(i for i, link in enumerate(chain.links) if link.kind == "freeing" and link.name == number)


def _since(chain: Chain, place: int) -> str:
    """What happened behind a place of the chain."""
    words = {"task": "learned", "freed": "learned and freed", "current": "choice of a version"}
    later = [f"{words.get(link.kind, link.kind)} {link.name}" for link in chain.links[place:]]
    return f"since then: {', '.join(later)}" if later else "nothing since"
