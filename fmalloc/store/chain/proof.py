"""Whether the certificates of a store are true: against its chain, its files and its cells."""

from collections.abc import Iterator
from hashlib import sha256

from fmalloc.store.cells import CellTable
from fmalloc.store.chain.certificate import Certificate, KeptTask
from fmalloc.store.chain.chain import Chain
from fmalloc.store.chain.growth import CELLS_FILE, GROWN
from fmalloc.store.chain.links import STORE_FILE, TASK_FILE, TASKS
from fmalloc.store.invariants import GENERAL_FILES
from fmalloc_shared.names import GENERAL

_MEMORY = "memory.safetensors"


def kept_tasks(chain: Chain, besides: frozenset[str]) -> dict[str, KeptTask]:
    """Digests of every task that is there but those `besides`, and of general."""
    found = {GENERAL: KeptTask(record=chain.digests[STORE_FILE], inputs=inputs_of(chain, GENERAL))}
    for task in chain.tasks:
        if task.name not in besides:
            record = chain.digests[f"{TASKS}/{task.name}/{TASK_FILE}"]
            found[task.name] = KeptTask(record=record, inputs=inputs_of(chain, task.name))
    return found


def inputs_of(chain: Chain, name: str) -> str:
    """One digest of all files that the export of a task reads, by the digests in the records."""
    files = {path: digest for path, digest in chain.store.files.items() if path.startswith("base/")}
    if name == GENERAL:
        files |= {path: chain.store.files[path] for path in GENERAL_FILES}
    else:
        tasks = {task.name: task for task in chain.tasks}
        files |= {f"{TASKS}/{name}/{path}": digest for path, digest in tasks[name].files.items()}
        files |= {f"{TASKS}/{read}/{_MEMORY}": tasks[read].files[_MEMORY] for read in tasks[name].reads}
        added = chain.cells_before(name)
        for number, growth in enumerate(chain.growths, start=1):
            if added > 0:
                files[f"{GROWN}/{number}/{CELLS_FILE}"] = growth.files[CELLS_FILE]
                added -= growth.cells
    lines = (f"{digest} {path}\n" for path, digest in sorted(files.items()))
    return sha256("".join(lines).encode()).hexdigest()


def problems_of(chain: Chain, number: int, table: CellTable) -> Iterator[str]:
    """What the certificate of this number, from 1, says that is not so now; `table`: of the tasks that are there."""
    certificate = chain.certificates[number - 1]
    (place,) = (index for index, link in enumerate(chain.links) if link.kind == "freeing" and link.name == str(number))
    if certificate.store != chain.digests[STORE_FILE]:
        yield f"store is {certificate.store}, but {STORE_FILE} has {chain.digests[STORE_FILE]}"
    yield from _kept_problems(chain, number, place)
    if number == len(chain.certificates):  # what was freed since cannot be counted any more
        yield from _cell_problems(chain, certificate, place, table)


def _kept_problems(chain: Chain, number: int, place: int) -> Iterator[str]:
    kept = chain.certificates[number - 1].kept
    # By order: a task that was learned again may have the same record.
    freed = {task.order for certificate in chain.certificates[:number] for task in certificate.freed}
    links = [link for link in chain.links[:place] if link.kind in ("task", "freed")]
    there = {link.name: link for order, link in enumerate(links, start=1) if order not in freed}
    if {*kept} != {GENERAL, *there}:
        yield f"kept names {', '.join(sorted(kept))}, but there were {', '.join(sorted({GENERAL, *there}))}"
        return
    for name, task in kept.items():
        record = chain.digests[STORE_FILE] if name == GENERAL else there[name].record
        if task.record != record:
            yield f"kept.{name}.record is {task.record}, but the chain has {record}"
        elif (name == GENERAL or there[name].kind == "task") and (inputs := inputs_of(chain, name)) != task.inputs:
            yield f"kept.{name}.inputs is {task.inputs}, but what its export reads has {inputs}"


def _cell_problems(chain: Chain, certificate: Certificate, place: int, table: CellTable) -> Iterator[str]:
    """Free cells: those that are free now, and what was claimed since."""
    later = {link.name for link in chain.links[place:] if link.kind == "task"}
    orders = [task.order for task in chain.tasks if task.name in later]
    grown = sum(chain.growths[int(link.name) - 1].cells for link in chain.links[place:] if link.kind == "growth")
    reserved = table.reserved_count()
    for layer, count in table.free_count().items():
        then = count + reserved[layer] - grown + sum(table.count(order)[layer] for order in orders)
        if certificate.free.get(layer) != then:
            yield f"free.{layer} is {certificate.free.get(layer)}, but {then} cells were free"
