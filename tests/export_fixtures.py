"""Tiny random models with real tokenizers, and stores whose memories are drawn instead of learned."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from killing import environment
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    NllbTokenizer,
)

from fmalloc.corpus import Pair
from fmalloc.memory import Memory, general_bytes, memory_bytes
from fmalloc.records import samples_bytes
from fmalloc.store import Store
from fmalloc_shared.names import GENERAL
from fmalloc_shared.ngrams import NgramCounts

Masks = dict[str, NDArray[np.bool_]]

LAYERS = ("encoder.0", "encoder.1", "decoder.0", "decoder.1")
WIDTH = 32
D_MODEL = 16
# Cells that the domain "odd" keeps: none in one layer, a single one in another.
ODD_WIDTHS = {"encoder.0": 0, "encoder.1": 1, "decoder.0": 7, "decoder.1": 32}

PAIRS = tuple(
    Pair(source, target)
    for source, target in (
        ("der bote bringt den brief am morgen", "the courier brings the letter in the morning"),
        ("eine katze schläft auf dem warmen stein", "a cat sleeps on the warm stone"),
        ("wir warten seit gestern auf den regen", "we have been waiting for the rain since yesterday"),
        ("das alte tor öffnet sich langsam", "the old gate opens slowly"),
        ("sie zählt die boote im hafen", "she counts the boats in the harbour"),
        ("niemand kennt den weg durch das moor", "nobody knows the way through the moor"),
        ("der müller mahlt das korn für das dorf", "the miller grinds the grain for the village"),
        ("im winter liegt der see unter eis", "in winter the lake lies under ice"),
        ("kinder malen mit kreide auf den hof", "children draw on the yard with chalk"),
        ("ein zug fährt ohne halt nach norden", "a train runs north without a stop"),
        ("bitte schließen sie das fenster", "please close the window"),
        ("die glocke klingt weit über das tal", "the bell sounds far across the valley"),
    )
)


def write_marian(directory: Path, seed: int = 0) -> None:
    """A Marian base of 2+2 layers as transformers saves it, with SentencePiece models of about 60 pieces."""
    directory.mkdir(parents=True)
    pieces = _write_sentencepiece(directory / "source.spm", [pair.source for pair in PAIRS])
    pieces += _write_sentencepiece(directory / "target.spm", [pair.target for pair in PAIRS])
    tokens = [*dict.fromkeys(["</s>", "<unk>", *pieces]), "<pad>"]
    _write_json(directory / "vocab.json", {token: index for index, token in enumerate(tokens)})
    _write_json(
        directory / "tokenizer_config.json",
        {"tokenizer_class": "MarianTokenizer", "source_lang": "de", "target_lang": "en", "model_max_length": 300},
    )
    pad = len(tokens) - 1
    config = MarianConfig(
        vocab_size=len(tokens),
        pad_token_id=pad,
        decoder_start_token_id=pad,
        eos_token_id=0,
        bos_token_id=0,
        forced_eos_token_id=None,
        activation_function="swish",
        scale_embedding=True,
        max_position_embeddings=300,
        **_sizes(),
    )
    _save(MarianMTModel, config, directory, seed, zero_row=pad)


def write_m2m100(directory: Path, seed: int = 0) -> None:
    """An M2M100 base, whose language tokens lie behind its vocabulary file, and with rows without tokens."""
    directory.mkdir(parents=True)
    pieces = _write_sentencepiece(directory / "sentencepiece.bpe.model", [text for pair in PAIRS for text in pair])
    tokens = list(dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>", *pieces]))
    _write_json(directory / "vocab.json", {token: index for index, token in enumerate(tokens)})
    tokenizer = M2M100Tokenizer(str(directory / "vocab.json"), str(directory / "sentencepiece.bpe.model"))
    tokenizer.save_pretrained(directory)
    vocabulary = len(tokens) + len(tokenizer.lang_token_to_id) + 8
    _save(M2M100ForConditionalGeneration, _m2m100_config(vocabulary), directory, seed, zero_row=1)


def write_nllb(directory: Path, seed: int = 0) -> None:
    """An NLLB base: the M2M100 architecture with a tokenizers file and codes such as deu_Latn."""
    directory.mkdir(parents=True)
    model = io.BytesIO()
    _train([text for pair in PAIRS for text in pair], model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    tokens = list(dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>", *(p for p in pieces if len(p) == 1)]))
    backend = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [], unk_token="<unk>", fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer = NllbTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[],
        extra_special_tokens=["deu_Latn", "eng_Latn", "fra_Latn"],
        src_lang="deu_Latn",
    )
    tokenizer.save_pretrained(directory)
    _save(M2M100ForConditionalGeneration, _m2m100_config(len(tokenizer)), directory, seed, zero_row=1)


BASES: dict[str, tuple[Callable[[Path], None], str, tuple[str, str]]] = {
    "marian": (write_marian, "marian", ("de", "en")),
    "m2m100": (write_m2m100, "m2m_100", ("de", "en")),
    "nllb": (write_nllb, "m2m_100", ("deu_Latn", "eng_Latn")),
}


def write_store(path: Path, kind: str = "marian", *, samples: tuple[Pair, ...] = PAIRS) -> Store:
    """A store with `general`, a task "it" that owns cells, "odd" (see ODD_WIDTHS), and "late" that reads "it"."""
    write_base, family, (source, target) = BASES[kind]
    prepared = path / ".work" / "prepared"
    write_base(prepared / "base")
    draw = np.random.default_rng(7)
    general = {layer: draw.random(WIDTH) > 0.3 for layer in LAYERS}
    importance = {layer: draw.random(WIDTH) for layer in LAYERS}
    (prepared / "general.safetensors").write_bytes(general_bytes(importance, general))
    _write_text_files(prepared, samples)
    scores = {"domains": {}, "signatures": {}}
    store = Store.create(
        path,
        prepared,
        family=family,
        languages={"source": source, "target": target},
        layers=[{"name": layer, "width": WIDTH} for layer in LAYERS],
        sparsity=0.3,
        importance={"batches": 2, "batch_tokens": 64, "seed": 1, "rank_correlation": 0.5, "dead_cells": {}},
        base_scores=scores,
        general_scores=scores,
    )
    free = {layer: np.flatnonzero(~general[layer]) for layer in LAYERS}
    it = {layer: cells[: len(cells) // 2] for layer, cells in free.items()}
    late = {layer: cells[len(cells) // 2 :] for layer, cells in free.items()}
    it_mask = {layer: _switched(general[layer] & (draw.random(WIDTH) > 0.4), it[layer]) for layer in LAYERS}
    none = {layer: np.zeros(0, dtype=np.int64) for layer in LAYERS}
    odd_mask = {layer: _first_general(general[layer], count) for layer, count in ODD_WIDTHS.items()}
    late_mask = {layer: _switched(it_mask[layer], late[layer]) for layer in LAYERS}
    commit(store, "it", it_mask, it, samples, seed=1)
    commit(store, "odd", odd_mask, none, samples, seed=2)
    commit(store, "late", late_mask, late, samples, seed=3, reads=["it"])
    return store


def commit(
    store: Store,
    name: str,
    masks: Masks,
    cells: Mapping[str, NDArray[np.int64]],
    samples: tuple[Pair, ...],
    *,
    seed: int,
    reads: list[str] | None = None,
) -> None:
    """Add a task that owns `cells` with weights drawn from `seed`."""
    draw = np.random.default_rng(seed)
    staged = store.path / ".work" / name
    staged.mkdir(parents=True)
    memories = {
        layer: Memory(
            mask=masks[layer],
            cells=owned,
            fc1_weight=draw.normal(size=(len(owned), D_MODEL)).astype(np.float32),
            fc1_bias=draw.normal(size=len(owned)).astype(np.float32),
            fc2_weight=draw.normal(size=(D_MODEL, len(owned))).astype(np.float32),
        )
        for layer, owned in cells.items()
    }
    (staged / "memory.safetensors").write_bytes(memory_bytes(memories))
    _write_text_files(staged, samples)
    store.commit(
        staged,
        name=name,
        order=len(store.tasks()) + 1,
        reads=reads or [],
        settings={},
        data={},
        scores={"domains": {}, "signatures": {}},
        dev={"bleu": 1.0, "chrf": 1.0},
        curve=[],
    )


def tree_bytes(directory: Path) -> dict[str, bytes]:
    """Every file below a directory with its content."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def subprocess_environment() -> dict[str, str]:
    """The environment for `python -m fmalloc_export`, one thread a process."""
    return environment(PYTHONWARNINGS="ignore")


def _switched(mask: NDArray[np.bool_], cells: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = mask.copy()
    mask[cells] = True
    return mask


def _first_general(general: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    mask = np.zeros_like(general)
    order = np.concatenate([np.flatnonzero(general), np.flatnonzero(~general)])
    mask[order[:count]] = True
    return mask


def _write_text_files(directory: Path, samples: tuple[Pair, ...]) -> None:
    counts = NgramCounts.of(pair.source for pair in PAIRS)
    (directory / "routing.safetensors").write_bytes(counts.to_bytes())
    (directory / "samples.jsonl").write_bytes(samples_bytes(samples))


def _write_sentencepiece(path: Path, sentences: list[str]) -> list[str]:
    model = io.BytesIO()
    _train(sentences, model)
    path.write_bytes(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    special = {"<unk>", "<s>", "</s>"}
    return [p for i in range(processor.get_piece_size()) if (p := processor.id_to_piece(i)) not in special]


def _train(sentences: list[str], model: io.BytesIO) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        vocab_size=48,
        model_type="unigram",
        minloglevel=2,
        hard_vocab_limit=False,
        num_threads=1,
    )


def _sizes() -> dict[str, Any]:
    return {
        "d_model": D_MODEL,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_ffn_dim": WIDTH,
        "decoder_ffn_dim": WIDTH,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    }


def _m2m100_config(vocabulary: int) -> M2M100Config:
    return M2M100Config(
        vocab_size=vocabulary,
        max_position_embeddings=300,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
        **_sizes(),
    )


def _save(kind: Any, config: Any, directory: Path, seed: int, *, zero_row: int) -> None:
    torch.manual_seed(seed)
    model = kind(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "embed_positions" in name:
                continue
            parameter.normal_(std=0.3 if "shared" in name else 0.6 if parameter.dim() > 1 else 0.2)
        rows = model.get_input_embeddings().weight
        rows[zero_row].zero_()
        rows[config.eos_token_id] *= 3
    model.save_pretrained(directory)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


__all__ = ["BASES", "GENERAL", "LAYERS", "ODD_WIDTHS", "PAIRS", "WIDTH", "tree_bytes", "write_store"]
