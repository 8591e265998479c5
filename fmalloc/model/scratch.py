"""A Marian model and its tokenizer from scratch."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from torch import nn

from fmalloc.corpus import Pair
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

POSITIONS = 512  # of a new model
# Pairs of which a tokenizer is trained; more take longer and change few pieces.
_SAMPLE, _SAMPLE_SEED = 200_000, 1
# Threads add up in an order of their own: as many on every machine give the same sums, and so the same pieces.
_THREADS = 16
_ON_ONE_THREAD = 50_000


@dataclass(frozen=True)
class Shape:
    """Size of the Transformer; `ffn` is the number of memory cells of every feed-forward layer."""

    vocabulary: int
    d_model: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    ffn: int
    dropout: float = 0.1

    @property
    def bytes(self) -> int:
        """Of the weights, nearly: embeddings, attention and feed-forward matrices."""
        attention = (self.encoder_layers + 2 * self.decoder_layers) * 4 * self.d_model
        cells = (self.encoder_layers + self.decoder_layers) * 2 * self.ffn
        return 4 * self.d_model * (self.vocabulary + attention + cells)


def train_tokenizer(pairs: Sequence[Pair], languages: LanguagePair, vocabulary: int, directory: Path) -> None:
    """Save to `directory` a MarianTokenizer with one SentencePiece model for both sides.

    Of many pairs it is trained on a sample. The same pairs give the same bytes, on any number of cores.

    Raises:
        FmallocError: SentencePiece cannot make such a vocabulary of the text.
    """
    from transformers import MarianTokenizer

    directory.mkdir(parents=True, exist_ok=True)
    trained = io.BytesIO()  # with a file name instead, the model would hold the path
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(side for pair in _sample(pairs) for side in pair),
            model_writer=trained,
            vocab_size=vocabulary,
            hard_vocab_limit=False,
            character_coverage=0.9999,
            eos_id=0,
            unk_id=1,
            bos_id=-1,
            pad_id=-1,
            num_threads=_THREADS if len(pairs) > _ON_ONE_THREAD else 1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise FmallocError(f"--vocab-size {vocabulary}: SentencePiece cannot make it of this text: {error}") from error
    for side in ("source", "target"):
        (directory / f"{side}.spm").write_bytes(trained.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    vocabulary_ids = {pieces.IdToPiece(i): i for i in range(pieces.GetPieceSize())}
    vocabulary_ids["<pad>"] = len(vocabulary_ids)
    (directory / "vocab.json").write_text(json.dumps(vocabulary_ids, ensure_ascii=False), encoding="utf-8")
    tokenizer = MarianTokenizer(
        source_spm=str(directory / "source.spm"),
        target_spm=str(directory / "target.spm"),
        vocab=str(directory / "vocab.json"),
        source_lang=languages.source,
        target_lang=languages.target,
    )
    tokenizer.save_pretrained(directory)


def _sample(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """All pairs in their order, or of many as many as a tokenizer can use."""
    if len(pairs) <= _SAMPLE:
        yield from pairs
        return
    chosen = np.random.default_rng(_SAMPLE_SEED).choice(len(pairs), _SAMPLE, replace=False, shuffle=False)
    for index in np.sort(chosen).tolist():
        yield pairs[index]


def new_model(tokenizer: Any, shape: Shape, seed: int) -> Any:
    """A MarianMTModel with Xavier matrices, embeddings of std d_model^-0.5 and a zero padding row.

    With transformers' default (std 0.02) a small model ignores its source for thousands of updates.
    """
    from transformers import MarianConfig, MarianMTModel

    pad = tokenizer.pad_token_id
    config = MarianConfig(
        vocab_size=pad + 1,
        decoder_vocab_size=pad + 1,
        d_model=shape.d_model,
        encoder_layers=shape.encoder_layers,
        decoder_layers=shape.decoder_layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=shape.ffn,
        decoder_ffn_dim=shape.ffn,
        activation_function="relu",
        dropout=shape.dropout,
        max_position_embeddings=POSITIONS,
        scale_embedding=True,
        pad_token_id=pad,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=pad,
        forced_eos_token_id=None,
    )
    torch.manual_seed(seed)
    model = MarianMTModel(config)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module is not model.lm_head:
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(model.model.shared.weight, std=shape.d_model**-0.5)
    zero_padding_row(model)
    model.tie_weights()
    model.generation_config.bad_words_ids = [[pad]]
    model.generation_config.num_beams = 4
    return model


@torch.no_grad()
def zero_padding_row(model: Any) -> None:
    """The padding row starts the decoder and must not drift through the tied output projection."""
    model.model.shared.weight[model.config.pad_token_id] = 0
