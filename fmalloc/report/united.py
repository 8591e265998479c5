"""Scores of a merged store: what one party's row would say of domains that another party learned meanwhile.

In its own store, a party had the general model for them. In the merged one, they have their own models, and none of
those was changed by a merge: so the score of such a domain is that of its own row.
"""

from fmalloc.store.chain.chain import Chain
from fmalloc.store.chain.links import TASK_FILE, TASKS
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.records import Score, Scores, TaskRecord


def side_by_side(chain: Chain) -> tuple[TaskRecord, ...]:
    """All tasks in their order, each with the row of scores that the store has after it."""
    own: dict[str, tuple[str, Score]] = {}
    found = []
    for task in chain.tasks:
        record = chain.digests[f"{TASKS}/{task.name}/{TASK_FILE}"]
        apart = _learned_apart(chain, record)
        scores = {domain: score for domain, (digest, score) in own.items() if digest in apart}
        found.append(task.model_copy(update={"scores": _with(task.scores, scores)}) if scores else task)
        if (domain := domain_of(task.name)) in task.scores.domains:
            own[domain] = record, task.scores.domains[domain]
    return tuple(found)


def served_of(chain: Chain) -> tuple[TaskRecord, ...]:
    """Of these, the current version of each domain."""
    return tuple(task for task in side_by_side(chain) if task.name in chain.current.values())


def _learned_apart(chain: Chain, record: str) -> set[str]:
    """Records of tasks of other stores that were merged with the one that learned this task."""
    stores = [merge.records for merge in chain.merges]
    return {other for records in stores if any(record in own for own in records)
            for own in records if record not in own for other in own}  # fmt: skip


def _with(row: Scores, scores: dict[str, Score]) -> Scores:
    proven = [*(name for name in row.proven if name not in scores), *scores]
    return row.model_copy(update={"domains": {**row.domains, **scores}, "proven": proven})
