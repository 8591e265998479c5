"""What a finding of `fmalloc verify` means for whoever has the store or bundle, and what to do about it."""

from collections.abc import Iterable

# By kind of finding: of stores as fmalloc.store.invariants names them, of bundles by the name of the check.
MEANINGS = {
    "record": (
        "a file of the store cannot be read as docs/formats.md describes it: it was cut, edited or written by"
        " a newer fmalloc; take it from a backup, or use that version"
    ),
    "chain": (
        "the records do not follow from each other: one was changed, deleted, added or exchanged after it was"
        " written, so that nothing proves what was learned; take the store from a backup"
    ),
    "missing": (
        "a file that a record names is gone, and domains that need it cannot be compiled; take it from a "
        "backup, its digest is in the record"
    ),
    "changed": (
        "a file is not the one that was written, and its domain would translate otherwise; take it from a "
        "backup, the digest shown as expected tells the right one"
    ),
    "foreign": "something lies there that no record names; move it elsewhere if it is yours, delete it if not",
    "special": (
        "a link, folder or device is where a file belongs, so that its content could change from elsewhere; "
        "put the file itself there"
    ),
    "base": (
        "the base is not the one that the records describe, and every domain would be another model; take the"
        " store from a backup"
    ),
    "grown": (
        "cells that were added are not as their record says, and domains learned since would be other models;"
        " take the store from a backup"
    ),
    "cells": (
        "cells, masks or private parameters contradict the records although digests fit, so that domains may "
        "change each other; whoever wrote them is not to be trusted: take the store from a backup, or learn "
        "those domains again"
    ),
    "text": (
        "routing counts or sample sentences are not of the domain's data: translations stay as they are, "
        "texts may go to the wrong domain; take the file from a backup"
    ),
    "distilled": (
        "a student is not what its record says; no domain needs it: delete its folder, and fmalloc export -O3"
        " makes another"
    ),
    "scores": (
        "a score is said to be proven by an earlier one that does not prove it; do not rely on it, and "
        "measure it with fmalloc eval"
    ),
    "certificate": "a certificate of a freeing says what is not so; do not rely on it, and ask who wrote it",
    "files": "the bundle is not what was compiled: it was cut, changed or added to; copy or compile it again",
    "tensors": "a weight of the bundle's graphs is no number or lies outside of its file; compile it again",
    "golden": (
        "the bundle translates otherwise on this machine than where it was compiled; do not serve it here "
        "before you know why: another version of the engine, another kind of processor, or damage"
    ),
    "source": (
        "the bundle was compiled from another store or task than the one that was given; nothing is known "
        "about whether it is right"
    ),
    "recompiled": "the bundle is not what its store and options give; publish one that is compiled again",
    "signature": "nobody that you trust has vouched for the bundle; do not serve it, and ask whoever sent it",
    "unfinished": (
        "work that was begun and not finished; nothing depends on it: the command that began it goes on with "
        "it, or --repair deletes it"
    ),
}


def in_words(kinds: Iterable[str]) -> list[str]:
    """One line per kind, in the table's order."""
    found = set(kinds)
    return [f"- {kind}: {meaning}" for kind, meaning in MEANINGS.items() if kind in found]
