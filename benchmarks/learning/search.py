"""Our beam search against transformers' `generate`, which evaluation used before: the same sources, the same tokens.

A part of `python -m benchmarks.learning.train`. Both take about 2,048 source tokens as a batch, ours what its memory
allows; CPU time of the process, whose only thread computes.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import Goal
from fmalloc.corpus import read_corpus
from fmalloc.evaluation.search import Search, unwritten
from fmalloc.model.architectures import languages_of, load_base
from fmalloc.model.devices import Device
from fmalloc.model.text.batches import batch_indices

_LONGEST = 256
_BATCH_TOKENS = 2048
_SPEEDUP = 3.0


def measure_search(base: Path, corpora: Path, device: Device, lines: int) -> dict[str, Any]:
    """Seconds of both on the first general test lines, greedy and with beam 4, and how many outputs agree."""
    languages = languages_of(base)
    model, tokenizer = load_base(base, languages)
    model.to(device.torch)
    pairs = read_corpus(corpora / "general", languages).test[:lines]
    sources = tokenizer([pair.source for pair in pairs], verbose=False)["input_ids"]
    names = ("d_model", "encoder_layers", "decoder_layers", "decoder_ffn_dim", "vocab_size")
    shape = {name: getattr(model.config, name) for name in names}
    found: dict[str, Any] = {"shape": shape, "lines": len(pairs), "source_tokens": sum(map(len, sources))}
    for size in (1, 4):
        theirs, seconds_theirs = _timed(partial(_generated, model, tokenizer, sources, size), device)
        search = Search(size, (model.config.decoder_start_token_id,), _LONGEST, forbidden=unwritten(model))
        ours, seconds_ours = _timed(partial(search.run, model, sources), device)
        found[f"beam {size}"] = {
            "seconds_transformers": round(seconds_theirs, 2),
            "seconds": round(seconds_ours, 2),
            "times_as_fast": round(seconds_theirs / seconds_ours, 2),
            "tokens": sum(map(len, ours)),
            "same_outputs": sum(a == b for a, b in zip(ours, theirs, strict=True)),
        }
    return found


def goals_of(searched: Mapping[str, Any]) -> list[Goal]:
    """By base: at least three times as fast, and the same outputs."""
    goals: list[Goal] = []
    for base, size in product(searched, (1, 4)):
        lines, found = searched[base]["lines"], searched[base][f"beam {size}"]
        faster, same = found["times_as_fast"], found["same_outputs"]
        name = f"times as fast as transformers' search, {base}, beam {size}"
        goals.append(Goal(name=name, value=faster, goal=f">= {_SPEEDUP}", met=faster >= _SPEEDUP))
        name = f"the same outputs as transformers' search, {base}, beam {size}"
        goals.append(Goal(name=name, value=same, goal=f"all {lines}", met=same == lines))
    return goals


def _timed(run: Callable[[], list[list[int]]], device: Device) -> tuple[list[list[int]], float]:
    clock = time.process_time if device.torch.type == "cpu" else time.perf_counter
    begin = clock()
    return run(), clock() - begin


@torch.inference_mode()
def _generated(model: Any, tokenizer: Any, sources: Sequence[list[int]], size: int) -> list[list[int]]:
    """Outputs of transformers' search, with the end token."""
    outputs: list[list[int]] = [[] for _ in sources]
    end = model.config.eos_token_id
    for group in batch_indices([len(source) for source in sources], _BATCH_TOKENS):
        batch = tokenizer.pad({"input_ids": [sources[i] for i in group]}, return_tensors="pt").to(model.device)
        rows = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            num_beams=size,
            do_sample=False,
            early_stopping=True if size > 1 else None,
            length_penalty=1.0 if size > 1 else None,
            max_new_tokens=_LONGEST,
            renormalize_logits=True,
        )[:, 1:].tolist()
        for index, row in zip(group, rows, strict=True):
            outputs[index] = row[: row.index(end) + 1] if end in row else row
    return outputs
