"""Stores of models with random weights in the shapes of real ones: what speed and size depend on.

The tokenizers are trained on real text, so that the target tokens a domain needs are as many as in life. The weights
never choose the end token: every translation is as long as it may be.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from numpy.typing import NDArray
from transformers import MarianConfig, MarianMTModel

from fmalloc.corpus import Pair, read_pairs
from fmalloc.store.records import samples_bytes
from fmalloc.store.store import Store
from fmalloc.store.tensors import Memory, general_bytes, memory_bytes
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.ngrams import NgramCounts

DOMAIN = "it"
_LANGUAGES = LanguagePair("de", "en")
# A task keeps most general cells and claims half of those that pruning freed.
_GENERAL, _KEPT, _CLAIMED = 0.8, 0.95, 0.5
_NEVER = -1e4


@dataclass(frozen=True)
class Shape:
    """`pieces`: of the source's and of the target's SentencePiece model; the vocabulary is their union."""

    name: str
    d_model: int
    ffn: int
    heads: int
    pieces: int
    activation: str
    layers: int = 6


OPUS_MT = Shape("OPUS-MT", 512, 2048, 8, 32_000, "swish")


def all_text(corpora: Path) -> list[Pair]:
    """The training pairs of all domains."""
    return [pair for path in sorted(corpora.glob("*/train.tsv")) for pair in read_pairs(path, _LANGUAGES)]


def store_of(shape: Shape, directory: Path, text: Sequence[Pair]) -> Store:
    """A store that holds a domain `it`; `text` trains the tokenizers. Written once, opened after that."""
    if (directory / "store.json").exists():
        return Store.open(directory)
    prepared = directory / ".work" / "prepared"
    _write_base(shape, prepared / "base", text)
    layers = [f"{stack}.{index}" for stack in ("encoder", "decoder") for index in range(shape.layers)]
    draw = np.random.default_rng(7)
    general = {layer: _mask(draw, shape.ffn, round(_GENERAL * shape.ffn)) for layer in layers}
    importance = {layer: draw.random(shape.ffn) for layer in layers}
    (prepared / "general.safetensors").write_bytes(general_bytes(importance, general))
    _write_text_files(prepared)
    nothing: dict[str, dict[str, float]] = {"domains": {}, "signatures": {}}
    store = Store.create(
        directory,
        prepared,
        family="marian",
        languages=_LANGUAGES,
        layers=[{"name": layer, "width": shape.ffn} for layer in layers],
        sparsity=round(1 - _GENERAL, 6),
        importance={"batches": 0, "batch_tokens": 0, "seed": 7, "rank_correlation": 0.0, "dead_cells": {}},
        base_scores=nothing,
        general_scores=nothing,
    )
    _commit(store, shape, general)
    return store


def _commit(store: Store, shape: Shape, general: dict[str, NDArray[np.bool_]]) -> None:
    draw = np.random.default_rng(8)
    memories = {}
    for layer, mask in general.items():
        free = np.flatnonzero(~mask)
        owned = np.sort(draw.choice(free, round(_CLAIMED * len(free)), replace=False))
        used = mask & (draw.random(shape.ffn) < _KEPT)
        used[owned] = True
        keys = draw.normal(size=(len(owned), shape.d_model)) / np.sqrt(shape.d_model)
        values = draw.normal(size=(shape.d_model, len(owned))) / np.sqrt(shape.ffn)
        biases = np.zeros(len(owned), dtype=np.float32)
        memories[layer] = Memory(used, owned, keys.astype(np.float32), biases, values.astype(np.float32))
    staged = store.path / ".work" / DOMAIN
    staged.mkdir(parents=True)
    (staged / "memory.safetensors").write_bytes(memory_bytes(memories))
    _write_text_files(staged)
    store.commit(
        staged,
        name=DOMAIN,
        reads=[],
        settings={"updates": 0},
        data={part: {"pairs": 1, "sha256": "0" * 64} for part in ("train", "dev", "test")},
        scores={"domains": {}, "signatures": {}},
        dev={"bleu": 0.0, "chrf": 0.0},
        curve=[],
    )


def _write_text_files(directory: Path) -> None:
    (directory / "routing.safetensors").write_bytes(NgramCounts.of(["kein Text"]).to_bytes())
    (directory / "samples.jsonl").write_bytes(samples_bytes(()))


def _mask(draw: np.random.Generator, width: int, count: int) -> NDArray[np.bool_]:
    mask = np.zeros(width, dtype=np.bool_)
    mask[draw.choice(width, count, replace=False)] = True
    return mask


def config_of(shape: Shape, vocabulary: int) -> MarianConfig:
    """A Marian model of a shape; padding is the last token, and starts the decoder."""
    return MarianConfig(
        vocab_size=vocabulary,
        pad_token_id=vocabulary - 1,
        decoder_start_token_id=vocabulary - 1,
        eos_token_id=0,
        bos_token_id=0,
        forced_eos_token_id=None,
        activation_function=shape.activation,
        scale_embedding=True,
        max_position_embeddings=512,
        d_model=shape.d_model,
        encoder_layers=shape.layers,
        decoder_layers=shape.layers,
        encoder_ffn_dim=shape.ffn,
        decoder_ffn_dim=shape.ffn,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
    )


def _write_base(shape: Shape, directory: Path, text: Sequence[Pair]) -> None:
    directory.mkdir(parents=True)
    pieces = ["</s>", "<unk>"]
    for name, lines in (("source", [p.source for p in text]), ("target", [p.target for p in text])):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=shape.pieces,
            character_coverage=0.9995,
            minloglevel=2,
        )
        (directory / f"{name}.spm").write_bytes(model.getvalue())
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        pieces += [processor.id_to_piece(index) for index in range(3, processor.get_piece_size())]
    tokens = [*dict.fromkeys(pieces), "<pad>"]
    (directory / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
    settings = {"tokenizer_class": "MarianTokenizer", "source_lang": "de", "target_lang": "en", "model_max_length": 512}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    torch.manual_seed(1)
    pad = len(tokens) - 1
    model = MarianMTModel(config_of(shape, len(tokens)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed_positions" not in name:
                parameter.normal_(std=shape.d_model**-0.5)
        model.get_input_embeddings().weight[pad].zero_()
        model.final_logits_bias[0, 0] = _NEVER
    model.save_pretrained(directory)
