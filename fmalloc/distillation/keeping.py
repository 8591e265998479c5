"""Students in the store: found there if the same one was made before, otherwise distilled and put there."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fmalloc.corpus import Pair, digest
from fmalloc.distillation.distill import DistillationText, Start, Teacher, distill
from fmalloc.distillation.plan import Plan
from fmalloc.distillation.settings import UNLIMITED, DistillationSettings, Limit
from fmalloc.model.devices import Device, environment_of
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.distilled import (
    DIGITS,
    DistillationClaim,
    Distilled,
    TeacherRecord,
    commit_distilled,
    distilled_models,
    read_distilled,
    write_distilled,
)
from fmalloc.store.records import DataRecord
from fmalloc.store.store import Store

# In a work folder: the student as it was when it paused.
_PAUSED = "paused"


def claim_of(
    store: Store,
    task: str,
    settings: DistillationSettings,
    text: DistillationText,
    sources: tuple[str, ...],
    start: Distilled | None = None,
) -> DistillationClaim:
    """What a student is made from: `text` with references alone, `sources` without translations, where it begins."""
    of_store, of_task = store.digest(task)
    parts: dict[Any, Any] = {"train": text.domain, "dev": text.dev, "general": text.general}
    parts["sources"] = [Pair(source, "") for source in sources]
    return DistillationClaim(
        domain=domain_of(task),
        teacher=TeacherRecord(store=of_store, task=of_task),
        start=start.digest if start else None,
        settings=asdict(settings),
        data={part: DataRecord(pairs=len(pairs), sha256=digest(pairs)) for part, pairs in parts.items()},
    )


def kept_student(store: Store, claim: DistillationClaim) -> Distilled | None:
    """The student that was made from the same; its weights are checked."""
    for found in distilled_models(store.path):
        if found.record.claim == claim:
            found.check()
            return found
    return None


def work_folder(store: Store, claim: DistillationClaim) -> Path:
    """Where the state of its making lies, until it is made; no task has such a name."""
    folder = store.path / ".work" / f"{claim.domain}@{claim.digest[:DIGITS]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def paused_student(work: Path, settings: DistillationSettings, limit: Limit) -> Distilled | None:
    """What lies in a work folder of a student that has learned as far as `limit` says already."""
    plan, found = Plan.find(work / "plan.json"), read_distilled(work / _PAUSED)
    if not limit.pauses or plan is None or found is None:
        return None
    return found if found.record.updates >= settings.paused_at(plan.updates, limit.share) else None


def forget_student(store: Store, claim: DistillationClaim) -> None:
    """Delete what was kept of a student that is not to go on; the caller holds the store's lock."""
    shutil.rmtree(work_folder(store, claim))


def make_student(
    store: Store,
    claim: DistillationClaim,
    teacher: Teacher,
    text: DistillationText,
    settings: DistillationSettings,
    device: Device,
    start: Start | None = None,
    limit: Limit = UNLIMITED,
) -> Distilled:
    """Distil, or go on where it was stopped, and commit; the caller holds the store's lock. Errors as of distill.

    A student that pauses is not committed: it stays in the work folder, as it is now.
    """
    work = work_folder(store, claim)
    student = distill(teacher, text, settings, device, work, claim.domain, start, limit)
    tensors = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in student.tensors.items()}
    record = {
        "claim": claim,
        "decoder_layers": student.layers,
        "cells": student.cells,
        "updates": student.updates,
        "curve": student.curve,
        "teacher_nll": student.teacher_nll,
        "environment": environment_of(device),
    }
    if limit.pauses:
        return write_distilled(work / _PAUSED, tensors, record)
    made = commit_distilled(store.path, work / "staged", tensors, record)
    shutil.rmtree(work)
    return made
