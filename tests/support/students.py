"""Distilled models in a store, with the weights that they began with: what does not depend on learning."""

from fmalloc.corpus import Pair
from fmalloc.distillation.distill import DistillationText
from fmalloc.distillation.keeping import claim_of
from fmalloc.distillation.settings import DistillationSettings
from fmalloc.distillation.student import parameters_of, student_of
from fmalloc.model.architectures import feed_forward_layers
from fmalloc.model.assembly import load_sliced
from fmalloc.store.distilled import Distilled, commit_distilled
from fmalloc.store.store import Store, writing
from tests.support.stores import PAIRS


def write_student(
    store: Store, domain: str = "late", layer: int = 1, train: tuple[Pair, ...] = PAIRS, updates: int = 0
) -> Distilled:
    """A student of one decoder layer."""
    student = student_of(load_sliced(store, domain)[0], [layer])
    text = DistillationText(train, (), train[:1])
    record = {
        "claim": claim_of(store, domain, DistillationSettings(depth=1), text, ("Noch ein Satz.",)),
        "decoder_layers": (layer,),
        "cells": {each.name: each.width for each in feed_forward_layers(student)},
        "updates": updates,
        "curve": [],
        "teacher_nll": 1.0,
        "environment": {},
    }
    tensors = {name: tensor.detach().numpy().copy() for name, tensor in parameters_of(student).items()}
    with writing(store.path):
        return commit_distilled(store.path, store.path / ".work" / "staged", tensors, record)
