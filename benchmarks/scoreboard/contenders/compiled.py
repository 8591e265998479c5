"""Contenders that are compiled of a store's domain: every level and engine, and the same width by chance."""

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compiler.unchecked import write_unchecked
from benchmarks.scoreboard.contenders.contender import Contender
from benchmarks.scoreboard.limits import Shape
from fmalloc.corpus import Corpus
from fmalloc.distillation.student import student_of
from fmalloc_export.bench.contestant import Contestant
from fmalloc_export.compiler import Compiled, compile_at
from fmalloc_export.domain.alignment import Alignment, last_layer
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.domain.transformer import one_thread
from fmalloc_export.emit.emitter import emitter_of
from fmalloc_export.options import Level, Options
from fmalloc_export.passes.pad_width import PadWidth
from fmalloc_export.passes.pipeline import DomainText, Step
from fmalloc_export.passes.text import CalibrationText, TextSplit, domain_text
from fmalloc_export.passes.vocabulary_use import trimming
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_shared.commands.progress import console

LEVELS: tuple[Level, ...] = ("O0", "O1", "O2")
# Engine and type of weights: what is compiled at -O0, and above.
_EXACT = (("ctranslate2", "int8"), ("ctranslate2", "float32"), ("onnx", "int8"), ("onnx", "float32"))
_REDUCED = (("ctranslate2", "int8"), ("onnx", "int8"))
_INT8 = Options(quantization="int8")
# As `fmalloc export --vocabulary 8000`.
_FEW_TOKENS = 8_000
# References whose mean length is that of what stands for students.
_MEASURED = 200
_TARGET_TOKENS = "target_tokens.npy"
_ENGINES = {"ctranslate2": "CTranslate2", "onnx": "ONNX Runtime"}


def compiled(domain: Domain, corpus: Corpus, keep: float, bundles: Path) -> list[Contender]:
    """Bundles of every level and engine; what is there already stays. `keep`: the share of cells at -O2.

    They are compiled as `fmalloc export` does, but compared with nothing: translations and scores stand beside.
    """
    found: list[Contender] = []
    text: DomainText | None = None
    for level in LEVELS:
        for engine, weights in _EXACT if level == "O0" else _REDUCED:
            options = Options(engine, weights, level, keep if level == "O2" else None)
            kept = bundles / f"{level}-{engine}-{weights}"
            if not list(kept.glob("*@*/manifest.json")):
                console.print(f"{domain.name}: compiling -{level} for {_ENGINES[engine]}, {weights}", markup=False)
                with one_thread():
                    if level != "O0" and text is None:
                        read = CalibrationText(tuple(corpus.train), corpus.dev)
                        text = domain_text(domain, TextSplit.of(domain.samples, read, required=False))
                    done = compile_at(domain, options, text, options.keep)
                write_unchecked(done, options, kept)
                np.save(kept / _TARGET_TOKENS, done.after.target_tokens)
            name = f"-{level}, {_ENGINES[engine]} {weights}"
            found.append(contender(domain, name, next(kept.glob("*@*")), weights, level))
    return found


def of_random_cells(domain: Domain, like: Contender, bundles: Path, share: float = 1.0) -> Contender:
    """As wide as `like` in each layer and with its target tokens, but cells are drawn by chance and not refitted.

    `share`: of the cells; as few as a layer can have, if it is 0.
    """
    if not list(bundles.glob("*@*/manifest.json")):
        tokens = np.load(like.contestant.path.parent / _TARGET_TOKENS)
        _write(domain, replace(_by_chance(domain, like, share), target_tokens=tokens), bundles)
    found = contender(domain, "random cells, CTranslate2 int8", next(bundles.glob("*@*")), "int8", None)
    return replace(found, group="random cells")


def shallow(domain: Domain, like: Contender, corpus: Corpus, depth: int, bundles: Path) -> Contender:
    """What stands for a student's speed: random cells, the first decoder layers, and 8,000 target tokens at most."""
    if not list(bundles.glob("*@*/manifest.json")):
        model, _ = trimming(domain, corpus.train, (), _FEW_TOKENS).apply(_by_chance(domain, like, 1.0))
        left = tuple(layer for layer in model.feed_forward if _is_left(layer.name, depth))
        parts = {field.name: getattr(domain, field.name) for field in fields(domain)}
        student = _Shallow(**parts | {"base": student_of(domain.base, range(depth))})
        _write(student, replace(model, feed_forward=left), bundles)
    name = f"{depth} decoder layer{'s' if depth > 1 else ''}, CTranslate2 int8"
    found = contender(domain, name, next(bundles.glob("*@*")), "int8", "O3")
    # Random cells hardly ever end a translation.
    lengths = [len(domain.tokenizer.tokenize(pair.target)) for pair in corpus.test[:_MEASURED]]
    longest = round(sum(lengths) / len(lengths))
    return replace(found, untrained=True, contestant=replace(found.contestant, longest=longest))


class _Shallow(Domain):
    """With fewer decoder layers, of which the last aligns words."""

    @cached_property
    def alignment(self) -> Alignment:
        return last_layer(self.base)


def _by_chance(domain: Domain, like: Contender, share: float) -> DomainModel:
    widths = Bundle.read(like.contestant.path).manifest.widths
    draw, layers = np.random.default_rng(0), []
    baked = compile_at(domain, _INT8).after
    for layer in baked.feed_forward:
        width = max(1, round(share * min(layer.width, widths[layer.name])))
        layers.append(layer.select(np.sort(draw.choice(layer.width, width, replace=False))))
    return replace(baked, feed_forward=tuple(layers))


def _is_left(layer: str, depth: int) -> bool:
    stack, _, index = layer.partition(".")
    return stack == "encoder" or int(index) < depth


def _write(domain: Domain, model: DomainModel, bundles: Path) -> None:
    padded, _ = PadWidth(16).apply(model)
    step = Step("random-cells", "cells drawn by chance", padded, False)
    write_unchecked(Compiled(domain, emitter_of(_INT8.engine), (step,)), _INT8, bundles)


def contender(domain: Domain, name: str, path: Path, weights: str, level: str | None) -> Contender:
    """A bundle of the domain."""
    manifest = Bundle.read(path).manifest
    shape = shape_of(domain.base.config, manifest.widths, manifest.target_tokens)
    return Contender(Contestant(name, "bundle", path, domain.languages), "fmalloc", weights, shape, level)


def shape_of(config: Any, widths: Mapping[str, int] | None = None, target_tokens: int | None = None) -> Shape:
    """By the configuration of the base; `widths` of the layers that a model has, where they are others than its own."""
    stacks = {"encoder": config.encoder_layers, "decoder": config.decoder_layers}
    own = {
        f"{stack}.{index}": getattr(config, f"{stack}_ffn_dim")
        for stack, layers in stacks.items()
        for index in range(layers)
    }
    found = own if widths is None else widths
    encoder, decoder = (
        tuple(found[name] for name in own if name in found and name.startswith(stack)) for stack in stacks
    )
    return Shape(config.d_model, encoder, decoder, target_tokens or config.vocab_size)
