"""Whether every cell of a store has one owner, masks switch on what may be on, and private parameters fit the base."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from fmalloc.store.cells import FREE, GENERAL_OWNER, RESERVED_CELL, Cells, CellTable
from fmalloc.store.chain.certificate import FREED
from fmalloc.store.chain.chain import Chain
from fmalloc.store.chain.links import TASK_FILE, TASKS
from fmalloc.store.chain.parts import RESERVED, SHARES_FILE, read_shares
from fmalloc.store.chain.proof import problems_of
from fmalloc.store.invariants import GENERAL_FILES, PRIVATE_FILE
from fmalloc.store.records import TaskRecord
from fmalloc.store.tensors import d_model_of, feed_forward_place, read_general, read_memory, read_private, tensor_forms

_SHOWN = 5
_KEYS = "fc1.weight"


def cell_problems(chain: Chain) -> Iterator[str]:
    """Cells have one owner, and masks switch on what may be on."""
    widths = {layer.name: layer.width for layer in chain.store.layers}
    d_model = d_model_of(chain.path / "base")
    _, masks = read_general(chain.path / GENERAL_FILES[0], widths)
    grown = chain.cells_before()
    owners = {layer: np.where(mask, GENERAL_OWNER, FREE) for layer, mask in masks.items()}
    owners = {layer: np.concatenate([owner, np.full(grown, FREE)]) for layer, owner in owners.items()}
    for layer, mask in masks.items():
        freed, expected = int((~mask).sum()), round(chain.store.sparsity * len(mask))
        if freed != expected:
            sparsity = chain.store.sparsity
            yield f"{GENERAL_FILES[0]}: {layer}.mask frees {freed} cells, expected {expected} by sparsity {sparsity}"
    names = {task.order: task.name for task in chain.tasks} | {GENERAL_OWNER: "general", FREE: "nobody"}
    names[RESERVED_CELL] = "another part"
    own, reserved = chain.own_tasks, False
    for task in chain.tasks:
        if task.name in own and not reserved:
            yield from _reservation_problems(chain, owners)
            reserved = True
        where = f"{TASKS}/{task.name}/memory.safetensors"
        then = {layer: width + chain.cells_before(task.name) for layer, width in widths.items()}
        yield from (f"{where}: {problem}" for problem in _memory_problems(chain, task, then, d_model, owners, names))
        if task.private:
            where = f"{TASKS}/{task.name}/{PRIVATE_FILE}"
            yield from (f"{where}: {problem}" for problem in _private_problems(chain, task, then, owners, names))
    if not reserved:
        yield from _reservation_problems(chain, owners)
    for number in range(1, len(chain.certificates) + 1):
        yield from (f"{FREED}/{number}.json: {problem}" for problem in problems_of(chain, number, CellTable(owners)))


def _reservation_problems(chain: Chain, owners: dict[str, Cells]) -> Iterator[str]:
    """Shares of other cells than were free; `owners`, by layer, are those before it, and then with what it reserves."""
    if chain.reservation is None:
        return
    where = chain.path / RESERVED / SHARES_FILE
    widths = {layer: len(owner) for layer, owner in owners.items()}
    shares = read_shares(where, widths, chain.reservation.of)
    for layer, owner in owners.items():
        if (wrong := np.flatnonzero((shares[layer] > 0) != (owner == FREE))).size:
            cell = wrong[0]
            state = "free" if owner[cell] == FREE else "not free"
            yield f"{RESERVED}/{SHARES_FILE}: {layer}.part is {shares[layer][cell]} for cell {cell}, which was {state}"
    owners.update(CellTable(owners).reserve(shares, chain.reservation.parts).owners)


def _memory_problems(
    chain: Chain,
    task: TaskRecord,
    widths: Mapping[str, int],
    d_model: int,
    owners: Mapping[str, NDArray[np.int64]],
    names: Mapping[int, str],
) -> Iterator[str]:
    """What is wrong with a task's cells; `owners`, by layer, are those before it, and then with it.

    `widths`: as they were when it was learned.
    """
    reads = {earlier.name: earlier.order for earlier in chain.tasks if earlier.name in task.reads}
    allowed = [GENERAL_OWNER, task.order, *reads.values()]
    used: set[int] = set()
    for layer, memory in read_memory(chain.path / TASKS / task.name / "memory.safetensors", widths, d_model).items():
        owner = owners[layer]
        if (taken := memory.cells[owner[memory.cells] != FREE]).size:
            yield f"{layer}.cells: {_owned(taken, owner, names)}, and a cell has one owner"
            continue
        owner[memory.cells] = task.order
        owner = owner[: widths[layer]]
        used |= set(np.unique(owner[memory.mask]).tolist())
        if (foreign := np.flatnonzero(memory.mask & ~np.isin(owner, allowed))).size:
            read = ", ".join(task.reads) or "no other"
            yield f"{layer}.mask: switches on {_owned(foreign, owner, names)}, but the task reads {read}"
    if unread := [name for name, order in reads.items() if order not in used]:
        yield f"its masks switch on no cell of {', '.join(unread)}, which {TASK_FILE} says it reads"


def _private_problems(
    chain: Chain,
    task: TaskRecord,
    widths: Mapping[str, int],
    owners: Mapping[str, NDArray[np.int64]],
    names: Mapping[int, str],
) -> Iterator[str]:
    """What does not fit the base, as far as its weight files name the parameter: tied ones have one name there.

    `widths`: of layers as they were when the task was learned.
    """
    base = {
        name.removeprefix("model."): _widened(name, form.shape, widths)
        for name, form in tensor_forms(chain.path / "base").items()
    }
    private = read_private(chain.path / TASKS / task.name / PRIVATE_FILE)
    for name, values in private.items():
        stem, _, side = name.rpartition(".")
        made, parameter = values.shape, name
        if side == "down":
            continue  # with its other half
        if side == "up":
            down, parameter = private[f"{stem}.down"].shape, stem
            if len(made) != 2 or len(down) != 2 or made[1] != down[0]:
                yield f"{stem}.up is {made} and .down {down}, expected (out, r) and (r, in)"
                continue
            made = (made[0], down[1])
        if made != (shape := base.get(parameter.removeprefix("model."), made)):
            yield f"{name} makes {made}, but the base's {parameter} is {shape}"
        elif side == "up" and (place := feed_forward_place(parameter)):
            layer, is_keys = place[0], place[1] == _KEYS
            changed = np.any(values, axis=1) if is_keys else np.any(private[f"{stem}.down"], axis=0)
            if (foreign := np.flatnonzero(changed & (owners[layer][: len(changed)] != GENERAL_OWNER))).size:
                yield f"{parameter} changes {_owned(foreign, owners[layer], names)}, but may only what is general's"


def _widened(name: str, shape: tuple[int, ...], widths: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of a parameter of the base when its feed-forward layers have these widths."""
    place = feed_forward_place(name)
    if place is None or place[1] == "fc2.bias":
        return shape
    width = widths[place[0]]
    return (*shape[:-1], width) if place[1] == "fc2.weight" else (width, *shape[1:])


def _owned(cells: NDArray[np.int64], owner: NDArray[np.int64], names: Mapping[int, str]) -> str:
    more = f" and {len(cells) - _SHOWN} more" if len(cells) > _SHOWN else ""
    return ", ".join(f"cell {cell} of {names[int(owner[cell])]}" for cell in cells[:_SHOWN]) + more
