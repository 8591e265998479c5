"""Records in words: a certificate, for those who asked that a domain be deleted, and what a gate measured."""

from fmalloc.lifecycle.corrections.gate import Verdict
from fmalloc.store.chain.certificate import Certificate
from fmalloc_shared.commands.outputs import readable

_LIMITS = (
    "It cannot undo copies: backups of the store, bundles that were shipped or are served elsewhere, translations that "
    "were made, logs, blocks of a disk that were not overwritten. Nor what the base was trained on, if that was the "
    "same text."
)


def certificate_text(certificate: Certificate) -> str:
    """What was freed, what stayed, how anyone can check it, and what it cannot undo; lines of any length."""
    names = ", ".join(task.name for task in certificate.freed)
    lines = [f"Certificate: {names} freed at {certificate.time}", ""]
    for task in certificate.freed:
        lines.append(
            f"{task.name}, task {task.order} of the store: {sum(task.cells.values())} cells are free, "
            f"with their pretrained values; {task.files} files ({readable(task.bytes)}) with its weights, routing "
            f"counts and sample sentences are deleted. Its record was {task.record}."
        )
        if task.offered_to:
            lines.append(
                f"{', '.join(task.offered_to)} read no cell of {task.name}, but could have: they were learned with its "
                "cells at hand, and may have been steered by them. Only tasks learned with `reads: general` were not."
            )
        if task.continued_in:
            lines.append(
                f"{', '.join(task.continued_in)} began as a copy of {task.name}, and may hold its values: what its "
                "text taught is not gone before they are. `fmalloc free` of the domain frees all versions of it."
            )
    kept = ", ".join(certificate.kept)
    lines += [
        "",
        f"Unchanged, with all files that their export reads: {kept}.",
        f"{certificate.rows_searched} rows of its weights were looked for in all other files of the store "
        f"({readable(certificate.bytes_searched)}) and not found.",
    ]
    if certificate.bundles:
        lines.append(f"Bundles deleted: {', '.join(certificate.bundles)}.")
    lines += [
        "",
        f"head before  {certificate.before}",
        f"head after   {certificate.after}",
        "",
        "Check it with the store alone: fmalloc verify-certificate CERTIFICATE STORE. Who wrote down a head before can "
        "add --head: it is found in the chain if nothing else was changed since.",
        _LIMITS,
    ]
    return "\n".join(lines)


def verdict_text(verdict: Verdict) -> str:
    """Each criterion with what was measured, and what became of the new version."""
    lines = [
        f"{'met' if criterion.met else 'NOT MET':8} {criterion.name}: {criterion.says}"
        for criterion in verdict.criteria
    ]
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in verdict.seconds.items())
    if verdict.passed:
        lines.append(f"{verdict.candidate} is current, before it was {verdict.current} ({spent})")
    else:
        lines.append(f"{verdict.candidate} is refused and deleted, {verdict.current} stays current ({spent})")
    return "\n".join(lines)
