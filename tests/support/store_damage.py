"""Damage to the store of tests.support.stores: what is done, a part of the message, and whether it is sealed."""

# ruff: noqa: E501 - a row of the table is a line where it can be

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from tests.support.stores import WIDTH

Damage = Callable[[Path], object]
LATE, IT, ODD = "tasks/late/task.json", "tasks/it/task.json", "tasks/odd/task.json"
MEMORY = "tasks/it/memory.safetensors"


def record(file: str, **changes: Any) -> Damage:
    """A record with other values, by key; None takes the key out."""

    def damage(store: Path) -> None:
        content = json.loads((store / file).read_bytes()) | changes
        (store / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return damage


def scores(file: str, digests: dict[str, str], proven: list[str], bleu: float = 1.0) -> Damage:
    """A record with a score of each domain that has a digest."""
    domains = {domain: {"bleu": bleu, "chrf": 1.0} for domain in digests}
    return record(file, scores={"domains": domains, "signatures": {}, "digests": digests, "proven": proven})


def text(file: str, old: str, new: str) -> Damage:
    def damage(store: Path) -> None:
        content = (store / file).read_text()
        assert old in content
        (store / file).write_text(content.replace(old, new, 1))

    return damage


def tensors(file: str, change: Callable[[dict[str, np.ndarray]], object], metadata: str = "1") -> Damage:
    def damage(store: Path) -> None:
        content = load_file(store / file)
        change(content)
        whole = {name: np.ascontiguousarray(values) for name, values in content.items()}
        (store / file).write_bytes(save(whole, metadata={"version": metadata}))

    return damage


def tensor(file: str, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    return tensors(file, lambda content: content.update({name: change(content[name])}))


def own(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    return tensor(MEMORY, "encoder.0.cells", change)


def put(values: np.ndarray, value: object, index: object = 0) -> np.ndarray:
    values = values.copy()
    values[index] = value
    return values


def links(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Damage:
    """head.json with other links."""
    return lambda store: record("head.json", links=change(json.loads((store / "head.json").read_bytes())["links"]))(
        store
    )


def instead(file: str, make: Callable[[Path], object]) -> Damage:
    def damage(store: Path) -> None:
        (store / file).unlink()
        make(store / file)

    return damage


def moved_and_linked(file: str) -> Damage:
    def damage(store: Path) -> None:
        (store / file).rename(store.parent / "elsewhere")
        (store / file).symlink_to(store.parent / "elsewhere")

    return damage


def general_cell(store: Path) -> None:
    """One of its cells is another that general owns."""
    mask = load_file(store / "general.safetensors")["encoder.0.mask"]
    taken = int(np.flatnonzero(mask)[0])
    tensors(
        MEMORY,
        lambda content: content.update(
            {
                "encoder.0.cells": np.sort(put(content["encoder.0.cells"], taken)),
                "encoder.0.mask": put(content["encoder.0.mask"], True, taken),
            }
        ),
    )(store)


def cell_of_another(store: Path) -> None:
    """late takes a cell of it."""
    cell = int(load_file(store / MEMORY)["encoder.0.cells"][0])
    tensor("tasks/late/memory.safetensors", "encoder.0.cells", lambda cells: np.sort(put(cells, cell)))(store)


def another_owner(store: Path) -> None:
    """odd switches on a cell of it, which it does not read."""
    cell = int(load_file(store / MEMORY)["encoder.0.cells"][0])
    tensor("tasks/odd/memory.safetensors", "encoder.0.mask", lambda mask: put(mask, True, cell))(store)


def base_config(store: Path) -> None:
    record("base/config.json", encoder_ffn_dim=WIDTH + 8)(store)


# What is done; a part of the message; whether records are then made to fit.
DAMAGES: dict[str, tuple[Damage, str, bool]] = {
    # Records.
    "reads nothing": (record(LATE, reads=[]), r"late/memory.*encoder.0.mask: switches on cell \d+ of it", True),
    "reads itself": (record(LATE, reads=["late"]), "late/task.json: reads 'late', expected tasks learned before", True),
    "reads a later task": (record(IT, reads=["odd"]), "it/task.json: reads 'odd'.*none, it is the first", True),
    "reads an absent task": (record(LATE, reads=["law"]), "reads 'law', expected tasks learned before it: it, odd", True),
    "reads twice": (record(LATE, reads=["it", "it"]), r"reads is \['it', 'it'\], expected each once", True),
    "reads what it does not use": (record(LATE, reads=["it", "odd"]), "switch on no cell of odd", True),
    "order below 1": (record(IT, order=-1), "it/task.json: order: Input should be greater.*found -1", True),
    "order is no number": (record(IT, order="1"), "order: Input should be a valid integer, found '1'", True),
    "order without end": (record(IT, order=10**40), "it/task.json: order: .*found 1000000", True),
    "order twice": (lambda store: links(lambda of: [of[0], of[0], of[2]])(store), "links lists task 'it' twice", False),
    "an order of its own": (record(LATE, order=4), "late/task.json: .*version 3 has none", True),
    "another order": (links(lambda of: [of[0], of[2], of[1]]), "head.json: head is", False),
    "another order, sealed": (links(lambda of: [of[2], of[0], of[1]]), "late/task.json: reads 'it', expected tasks learned", True),
    "a link less": (links(lambda of: of[:1]), "head.json: tasks is 3, but links lists 1.*\n.*links does not list tasks/late/task.json, tasks/odd", False),
    "a link to nothing": (links(lambda of: [*of, {**of[0], "name": "law"}]), "links lists task 'law', but there is no folder tasks/law", False),
    "a link of another kind": (links(lambda of: [of[0], {**of[1], "kind": "growth"}, of[2]]), "links number the records in grown/ odd, of 0", False),
    "freed without a certificate": (links(lambda of: [of[0], {**of[1], "kind": "freed"}, of[2]]), "task 'odd', order 2, was freed, but no certificate", False),
    "another record": (links(lambda of: [of[0], {**of[1], "record": "0" * 64}, of[2]]), "odd/task.json: sha256 is .*head.json says 0000", False),
    "chained by nothing": (links(lambda of: [of[0], {**of[1], "chained": True}, of[2]]), "task 'odd' is chained: True", False),
    "no links": (record("head.json", links=None), "head.json: .*version 3 has links", False),
    "another name": (record(IT, name="law"), "it/task.json: name is 'law', expected 'it'", True),
    "no domain's name": (record(IT, name="../it"), "it/task.json: name: .*domain name", True),
    "no settings": (record(IT, settings={}), "it/task.json: settings are empty", True),
    "no data": (record(IT, data={}), "it/task.json: data holds nothing, expected train, dev, test", True),
    "other data": (record(IT, data={"trial": {"pairs": 1, "sha256": "0" * 64}}), "data.trial", True),
    "data of negative size": (text(IT, '"pairs": ', '"pairs": -'), "data.dev.pairs: .*found -", True),
    "no digest": (text(IT, '"sha256": "', '"sha256": "Z'), "data.dev.sha256: .*found 'Z", True),
    "private without a file": (record(IT, private=["norms"]), r"files are .*private is \['norms'\]", True),
    "unknown private kind": (record(IT, private=["cells"]), "private.0: Input should be 'norms'", True),
    "an unknown version": (record(IT, version=4), "it/task.json: version 4, this program reads version 1 and 2 and 3", True),
    "an older version": (record(IT, version=1), "versions 1 and 2 have an order", True),
    "no version": (record(IT, version=None), "it/task.json: version None", True),
    "another key": (record(IT, colour=1), "it/task.json: colour: Extra inputs", True),
    "a key less": (record(IT, dev=None), "it/task.json: dev: Field required", True),
    "a key twice": (text(IT, '"version": 3', '"version": 3, "version": 3'), "key 'version' is given twice, with 3 and 3", False),
    "not a number": (record(IT, dev={"bleu": float("nan"), "chrf": 1.0}), "dev.bleu: .*finite number", True),
    "a score above 100": (record(IT, dev={"bleu": 1e9, "chrf": 1.0}), "dev.bleu: .*found 1000000000.0", True),
    "a file that is not listed": (text(IT, '"samples.jsonl"', '"../samples.jsonl"'), "it/task.json: files are", True),
    "no JSON": (text(IT, "{", "["), "it/task.json: Invalid JSON", False),
    "not UTF-8": (lambda store: (store / IT).write_bytes(b'{"name": "\xff"}'), "it/task.json: Invalid JSON", False),
    "nested without end": (lambda store: (store / IT).write_bytes(b"[" * 10**6), "it/task.json: Invalid JSON", False),
    "no layers": (record("store.json", layers=[]), "store.json: layers: List should have", True),
    "a layer less": (record("store.json", layers=[{"name": "encoder.0", "width": WIDTH}]), "layers are encoder.0, but base/ has weights of", True),
    "a layer of another name": (text("store.json", "decoder.1", "decoder.2"), "layers are .*expected encoder.0", True),
    "another width": (text("store.json", f'"width": {WIDTH}', f'"width": {WIDTH + 1}'), "encoder_ffn_dim", True),
    "a width without end": (text("store.json", f'"width": {WIDTH}', '"width": 99999999'), "width: .*99999999", True),
    "another family": (record("store.json", family="bart"), "family is 'bart', but base/config.json says 'marian'", True),
    "another sparsity": (record("store.json", sparsity=0.5), "mask frees 10 cells, expected 16 by sparsity 0.5", True),
    "sparsity above 1": (record("store.json", sparsity=2.0), "store.json: sparsity: .*found 2.0", True),
    "dead cells of no layer": (text("store.json", '"dead_cells": {}', '"dead_cells": {"x": 1}'), "dead_cells.x is 1", True),
    "a path out of the base": (text("store.json", '"base/config.json"', '"base/../x"'), "files.base/../x: expected base/ and", True),
    "a score that nothing proves": (scores(LATE, digests={"it": "1" * 64}, proven=["it"]), "late/task.json: scores.proven: no earlier record has a score of 'it' with the digest 1111", True),
    "a score that another proves": (lambda store: [scores(ODD, {"it": "1" * 64}, [])(store), scores(LATE, digests={"it": "1" * 64}, proven=["it"], bleu=2.0)(store)], "late/task.json: scores.proven: 'it' has .*bleu=2.0.*but the earlier record with the digest 1111.* has .*bleu=1.0", True),
    "a score that is proven and not there": (scores(LATE, digests={}, proven=["it"]), "late/task.json: scores.proven names 'it', which has no digest", True),
    # The chain.
    "other settings": (record(IT, settings={"updates": 2}), "it/task.json: sha256 is .*head.json says", False),
    "other settings of the last": (record(LATE, settings={"updates": 2}), "head.json: head is .*records give", False),
    "other data, same form": (text(ODD, '"sha256": "0', '"sha256": "1'), "odd/task.json: sha256 is", False),
    "another sparsity, unsealed": (record("store.json", sparsity=0.31), "head.json: head is", False),
    "a predecessor of its own": (record(ODD, previous="0" * 64), "odd/task.json: .*versions 1 and 3 have none", False),
    "a task is gone that is read": (lambda store: shutil.rmtree(store / "tasks/it"), "links lists task 'it', but there is no folder tasks/it", False),
    "the same, sealed": (lambda store: shutil.rmtree(store / "tasks/it"), "late/task.json: reads 'it', expected tasks learned before", True),
    "a task is gone": (lambda store: shutil.rmtree(store / "tasks/odd"), "there is no folder tasks/odd", False),
    "the last task is gone": (lambda store: shutil.rmtree(store / "tasks/late"), "there is no folder tasks/late", False),
    "all tasks are gone": (lambda store: [shutil.rmtree(path) for path in (store / "tasks").iterdir()], "no folder tasks/odd", False),
    "a task comes twice": (lambda store: shutil.copytree(store / "tasks/it", store / "tasks/copy"), "name is 'it', expected 'copy'", False),
    "no head": (lambda store: (store / "head.json").unlink(), "head.json: no such file", False),
    "another head": (record("head.json", head="0" * 64), "head.json: head is 0000", False),
    "a head of more": (record("head.json", tasks=4), "head.json: tasks is 4, but links lists 3", False),
    "a head of fewer": (record("head.json", tasks=1), "head.json: tasks is 1, but links lists 3", False),
    # What lies there.
    "no store.json": (lambda store: (store / "store.json").unlink(), "store.json: no such file|neither a memory store|has tasks, but no store.json", False),
    "store.json is a FIFO": (instead("store.json", os.mkfifo), "store.json: is a FIFO", False),
    "store.json is a link": (moved_and_linked("store.json"), "store.json: is a link", False),
    "store.json is a link to nothing": (instead("store.json", lambda path: path.symlink_to("x")), "store.json: cannot be read", False),
    "store.json is a folder": (instead("store.json", Path.mkdir), "store.json: cannot be read: Is a directory", False),
    "a record is a FIFO": (instead(IT, os.mkfifo), "it/task.json: is a FIFO, expected a plain file", False),
    "the head is a FIFO": (instead("head.json", os.mkfifo), "head.json: is a FIFO", False),
    "samples are a FIFO": (instead("samples.jsonl", os.mkfifo), "samples.jsonl: is special, expected a plain", False),
    "cells are a FIFO": (instead(MEMORY, os.mkfifo), "it/memory.safetensors: is special", False),
    "a record is a link": (moved_and_linked(IT), "it/task.json: is a link, expected a plain file", False),
    "the head is a link": (moved_and_linked("head.json"), "head.json: is a link", False),
    "cells are a link": (moved_and_linked(MEMORY), "it/memory.safetensors: is a link", False),
    "the base is a link": (moved_and_linked("base"), "base: is a link", False),
    "a task is a link": (moved_and_linked("tasks/it"), "tasks/it: expected folders of tasks only", False),
    "tasks are a link": (moved_and_linked("tasks"), "tasks: expected a folder with one folder per task", False),
    "a device": (instead("samples.jsonl", lambda path: path.symlink_to("/dev/zero")), "samples.jsonl: is a link", False),
    "a foreign file": (lambda store: (store / "notes").write_text("mine"), "store/notes: not listed", False),
    "a foreign file in the base": (lambda store: (store / "base/x.bin").write_text(""), "base/x.bin: not listed", False),
    "a foreign file in a task": (lambda store: (store / "tasks/it/x").write_text(""), "it/x: not listed", False),
    "a foreign file among tasks": (lambda store: (store / "tasks/x").write_text(""), "tasks/x: expected folders", False),
    "a foreign folder": (lambda store: (store / "more").mkdir(), "store/more: is a folder", False),
    "a foreign folder in a task": (lambda store: (store / "tasks/it/x").mkdir(), "tasks/it/x: is a folder", False),
    "a folder that is no task": (lambda store: (store / "tasks/x").mkdir(), "tasks/x/task.json: cannot be read", False),
    "a file less": (lambda store: (store / "routing.safetensors").unlink(), "routing.safetensors: missing", False),
    "a changed file": (text("samples.jsonl", "e", "E"), "samples.jsonl: sha256 is", False),
    # Cells and masks, with digests that fit.
    "a general cell": (general_cell, r"encoder.0.cells: cell \d+ of general, and a cell has one owner", True),
    "a cell of another": (cell_of_another, r"encoder.0.(cells: cell \d+ of it|mask: is off for)", True),
    "a cell twice": (own(lambda cells: put(cells, cells[1])), "encoder.0.cells: .*expected ascending ids, each once", True),
    "cells out of order": (own(lambda cells: cells[::-1]), "encoder.0.cells: .*expected ascending ids", True),
    "a cell below 0": (own(lambda cells: put(cells, -3)), "encoder.0.cells: -3, expected ids from 0 to 31", True),
    "a cell out of range": (own(lambda cells: put(cells, 2**40, -1)), "cells: 1099511627776, expected ids from", True),
    "ids of another type": (own(lambda cells: cells.astype(np.int32)), "encoder.0.cells' is I32 .*expected int64", True),
    "its own cells are off": (tensor(MEMORY, "encoder.0.mask", lambda mask: put(mask, False, slice(None))), "encoder.0.mask: is off for", True),
    "all cells are on": (tensor(MEMORY, "encoder.0.mask", lambda mask: put(mask, True, slice(None))), "mask: switches on .* of nobody", True),
    "a cell of another is on": (another_owner, r"odd/memory.*encoder.0.mask: switches on cell \d+ of it", True),
    "a mask of numbers": (tensor(MEMORY, "encoder.0.mask", lambda mask: mask.astype(np.uint8)), "mask' is U8 .*expected bool", True),
    "a mask of other bytes": (tensor(MEMORY, "encoder.0.mask", lambda mask: (mask.astype(np.uint8) * 2).view(np.bool_)), "bytes other than", True),
    "a short mask": (tensor(MEMORY, "encoder.0.mask", lambda mask: mask[:-1]), r"mask' is bool \(31,\), expected", True),
    "float64": (tensor(MEMORY, "encoder.0.fc1_weight", lambda w: w.astype(np.float64)), "is float64 .*expected float32", True),
    "keys are transposed": (tensor(MEMORY, "encoder.0.fc1_weight", lambda w: w.T), r"encoder.0.fc1_weight' is float32 \(16, 5\), expected float32 " r"\(5, 16\): it is transposed", True),
    "values are transposed": (tensor(MEMORY, "encoder.0.fc2_weight", lambda w: w.T), "fc2_weight.*transposed", True),
    "biases of more cells": (tensor(MEMORY, "encoder.0.fc1_bias", lambda b: np.append(b, b)), r"fc1_bias' is float32 \(10,\), expected", True),
    "another model's width": (tensor(MEMORY, "encoder.0.fc1_weight", lambda w: w[:, :-1]), r"\(5, 15\), expected float32 \(5, 16\)", True),
    "NaN": (tensor(MEMORY, "decoder.1.fc2_weight", lambda w: put(w, np.nan)), "decoder.1.fc2_weight: holds NaN", True),
    "a tensor less": (tensors(MEMORY, lambda content: content.pop("encoder.1.mask")), "tensor 'encoder.1.mask' is missing", True),
    "a tensor more": (tensors(MEMORY, lambda content: content.update(more=np.zeros(1))), "tensor 'more' float64 .*not expected", True),
    "other metadata": (tensors(MEMORY, dict.keys, metadata="9"), "metadata are {'version': '9'}", True),
    "no tensors": (lambda store: (store / MEMORY).write_bytes(b"\0" * 64), "it/memory.safetensors: cannot be read", True),
    "an empty file": (lambda store: (store / MEMORY).write_bytes(b""), "it/memory.safetensors: cannot be read", True),
    "the general mask frees more": (tensor("general.safetensors", "encoder.0.mask", lambda mask: put(mask, False, slice(None))), "frees 32 cells", True),
    "importance of another type": (tensor("general.safetensors", "encoder.0.importance", lambda i: i.astype(np.float32)), "importance' is float32", True),
    "importance without end": (tensor("general.safetensors", "encoder.0.importance", lambda i: put(i, np.inf)), "importance holds NaN or inf", True),
    # Base and texts.
    "a base of another width": (base_config, f"width {WIDTH}, but base/config.json says encoder_ffn_dim {WIDTH + 8}", True),
    "a configuration that is no JSON": (text("base/config.json", "{", ""), "base/config.json: not ", True),
    "base weights are transposed": (tensor("base/model.safetensors", "model.encoder.layers.0.fc2.weight", lambda w: w.T), "fc2.weight of encoder.0", True),
    "base weights are gone": (tensors("base/model.safetensors", lambda c: c.pop("model.encoder.layers.0.fc1.bias")), r"fc1.bias .*\(\), expected", True),
    "counts of another type": (lambda store: tensors("tasks/it/routing.safetensors", lambda c: c.update(counts=c["counts"].astype(np.int8)), "2")(store),
        "it/routing.safetensors: not a routing file",
        True,
    ),
    "counts of more than there is": (lambda store: tensors("tasks/it/routing.safetensors", lambda c: c.update(sentences=put(c["sentences"], 9999)), "2")(store), "it/routing.safetensors: counts 9999 sentences, but train has", True),
    "samples that are none": (lambda store: (store / "tasks/it/samples.jsonl").write_text('{"source": "a", "target": 1}\n'), "jsonl:1: expected", True),
    "more samples than dev has": (lambda store: (store / "tasks/it/samples.jsonl").write_text('{"source": "a", "target": "b"}\n' * 999), "it/samples.jsonl: has 999 pairs, but dev has", True),
}  # fmt: skip
