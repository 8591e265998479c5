"""A tiny random base of each supported family and kind of tokenizer, as transformers saves it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BartTokenizer,
    FSMTConfig,
    FSMTForConditionalGeneration,
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    NllbTokenizer,
    PegasusConfig,
    PegasusForConditionalGeneration,
    PegasusTokenizer,
)
from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES as MBART_CODES
from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES as MBART50_CODES

from tests.support.tiny_pieces import (
    FAIRSEQ,
    PAIRS,
    byte_pairs,
    mbart_pieces,
    scored_pieces,
    write_json,
    write_sentencepiece,
)

LAYERS = ("encoder.0", "encoder.1", "decoder.0", "decoder.1")
WIDTH = 32
D_MODEL = 16
# Random models seldom end an output, so that this is how long most are, and what most of the time goes with.
POSITIONS = 72


def write_marian(
    directory: Path, seed: int = 0, *, marks: tuple[str, ...] = (), target: str = "en", decoder_layers: int = 2
) -> None:
    """A Marian base of 2+2 layers, or 2 and `decoder_layers`, as transformers saves it; about 60 pieces per side.

    `marks`: tokens of target languages. `target`: the language that the tokenizer names.
    """
    directory.mkdir(parents=True)
    pieces = write_sentencepiece(directory / "source.spm", [pair.source for pair in PAIRS])
    pieces += write_sentencepiece(directory / "target.spm", [pair.target for pair in PAIRS])
    tokens = [*dict.fromkeys(["</s>", "<unk>", *pieces, *marks]), "<pad>"]
    write_json(directory / "vocab.json", {token: index for index, token in enumerate(tokens)})
    _write_marian_tokenizer(directory, target_lang=target)
    config = _marian_config(len(tokens), decoder_layers=decoder_layers)
    _save(MarianMTModel, config, directory, seed, zero_row=len(tokens) - 1)


def write_marian_of_many_targets(directory: Path, seed: int = 0) -> None:
    """A Marian base that a token before every source tells what to write, as OPUS-MT's en-ROMANCE."""
    write_marian(directory, seed, marks=(">>eng<<", ">>fra<<", ">>cmn_Hans<<", ">>cmn_Hant<<"), target="en+fr+zh")


def write_separate_marian(directory: Path, seed: int = 0) -> None:
    """A Marian base whose encoder and decoder have vocabularies, and embeddings, of their own."""
    sides = _separate_pieces(directory)
    size = max(map(len, sides)) + 1
    sides = [[*side, *_unused(size - 1 - len(side)), "<pad>"] for side in sides]
    _write_separate_marian(directory, seed, sides)


def write_marian_of_larger_target(directory: Path, seed: int = 0, *, own_padding: bool = True) -> None:
    """A Marian base whose target has more tokens than its source.

    Its padding is behind them, or, without `own_padding`, among them: where the source ends.
    """
    source, target = _separate_pieces(directory)
    target = [*target, *_unused(len(source) + 9 - len(target))]
    target.insert(len(target) if own_padding else len(source), "<pad>")
    _write_separate_marian(directory, seed, [[*source, "<pad>"], target])


def write_marian_of_smaller_target(directory: Path, seed: int = 1) -> None:
    """A Marian base whose source has more tokens than its target, so that both have padding where the target ends."""
    source, target = _separate_pieces(directory)
    source = [*source, *_unused(len(target) + 9 - len(source))]
    source.insert(len(target), "<pad>")
    _write_separate_marian(directory, seed, [source, [*target, "<pad>"]])


def _separate_pieces(directory: Path) -> list[list[str]]:
    directory.mkdir(parents=True)
    return [
        ["</s>", "<unk>", *write_sentencepiece(directory / f"{side}.spm", [getattr(pair, side) for pair in PAIRS])]
        for side in ("source", "target")
    ]


def _unused(count: int) -> list[str]:
    return [f"unused{index}" for index in range(count)]


def _write_separate_marian(directory: Path, seed: int, sides: list[list[str]]) -> None:
    for tokens, name in zip(sides, ("vocab.json", "target_vocab.json"), strict=True):
        write_json(directory / name, {token: index for index, token in enumerate(tokens)})
    _write_marian_tokenizer(directory, separate_vocabs=True)
    sizes, (source_pad, target_pad) = [len(side) for side in sides], [side.index("<pad>") for side in sides]
    config = _marian_config(
        sizes[0],
        share_encoder_decoder_embeddings=False,
        decoder_vocab_size=sizes[1],
        pad_token_id=source_pad,
        decoder_start_token_id=target_pad,
    )
    _save(MarianMTModel, config, directory, seed, zero_row=source_pad, start_row=target_pad)


def _write_marian_tokenizer(directory: Path, **changes: Any) -> None:
    settings = {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": "de",
        "target_lang": "en",
        "model_max_length": POSITIONS,
    }
    write_json(directory / "tokenizer_config.json", settings | changes)


def write_m2m100(directory: Path, seed: int = 0) -> None:
    """An M2M100 base, whose language tokens lie behind its vocabulary file, and with rows without tokens."""
    directory.mkdir(parents=True)
    pieces = write_sentencepiece(directory / "sentencepiece.bpe.model", [text for pair in PAIRS for text in pair])
    tokens = list(dict.fromkeys([*FAIRSEQ, *pieces]))
    write_json(directory / "vocab.json", {token: index for index, token in enumerate(tokens)})
    tokenizer = M2M100Tokenizer(str(directory / "vocab.json"), str(directory / "sentencepiece.bpe.model"))
    tokenizer.save_pretrained(directory)
    vocabulary = len(tokens) + len(tokenizer.lang_token_to_id) + 8
    _save(M2M100ForConditionalGeneration, _fairseq(M2M100Config, vocabulary), directory, seed, zero_row=1)


def write_nllb(directory: Path, seed: int = 0, *, legacy: bool = False) -> None:
    """An NLLB base: the M2M100 architecture with a tokenizers file and codes such as deu_Latn.

    `legacy`: the source's language stands behind its end, as in transformers before 4.31.
    """
    directory.mkdir(parents=True)
    tokens = list(dict.fromkeys([*FAIRSEQ, *(piece for piece, _ in scored_pieces() if len(piece) == 1)]))
    backend = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [], unk_token="<unk>", fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer = NllbTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[],
        extra_special_tokens=["deu_Latn", "eng_Latn", "fra_Latn"],
        src_lang="deu_Latn",
        legacy_behaviour=legacy,
    )
    tokenizer.save_pretrained(directory)
    _save(M2M100ForConditionalGeneration, _fairseq(M2M100Config, len(tokenizer)), directory, seed, zero_row=1)


def write_legacy_nllb(directory: Path, seed: int = 0) -> None:
    """An NLLB base whose tokenizer asks for legacy_behaviour."""
    write_nllb(directory, seed, legacy=True)


def write_bart(directory: Path, seed: int = 4) -> None:
    """A BART base with byte-level BPE: the alphabet of 256 bytes and no merges; every text begins with <s>."""
    directory.mkdir(parents=True)
    tokens = [*FAIRSEQ, *sorted(pre_tokenizers.ByteLevel.alphabet()), "<mask>"]
    BartTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[]).save_pretrained(directory)
    _save(BartForConditionalGeneration, _fairseq(BartConfig, len(tokens)), directory, seed, zero_row=1)


def write_mbart(directory: Path, seed: int = 0) -> None:
    """An mBART base: texts end in the language's token, with which the decoder starts."""
    directory.mkdir(parents=True)
    tokenizer = MBartTokenizer(vocab=mbart_pieces(MBART_CODES))
    tokenizer.save_pretrained(directory)
    config = _fairseq(MBartConfig, len(tokenizer), decoder_start_token_id=None, scale_embedding=True)
    _save(MBartForConditionalGeneration, config, directory, seed, zero_row=1)


def write_mbart50(directory: Path, seed: int = 0) -> None:
    """An mBART-50 base: texts begin with the language's token."""
    directory.mkdir(parents=True)
    tokenizer = MBart50Tokenizer(vocab=mbart_pieces(MBART50_CODES))
    tokenizer.save_pretrained(directory)
    config = _fairseq(MBartConfig, len(tokenizer), tokenizer_class="MBart50Tokenizer", scale_embedding=True)
    _save(MBartForConditionalGeneration, config, directory, seed, zero_row=1)


def write_pegasus(directory: Path, seed: int = 0) -> None:
    """A Pegasus base: the padding token starts the decoder."""
    directory.mkdir(parents=True)
    reserved = ["<pad>", "</s>", "<mask_1>", "<mask_2>", *(f"<unk_{index}>" for index in range(2, 7)), "<unk>"]
    vocab = [*((token, 0.0) for token in reserved), *scored_pieces()]
    PegasusTokenizer(vocab=vocab, offset=7).save_pretrained(directory)
    config = PegasusConfig(
        vocab_size=len(vocab),
        max_position_embeddings=POSITIONS,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        activation_function="relu",
        scale_embedding=True,
        **_sizes(),
    )
    _save(PegasusForConditionalGeneration, config, directory, seed, zero_row=0)


def write_fsmt(directory: Path, seed: int = 1, *, joint: bool = False) -> None:
    """An FSMT base with one list of merges and, unless `joint`, a vocabulary for each side."""
    directory.mkdir(parents=True)
    merges, pieces = byte_pairs()
    for name, kept in (("src", pieces), ("tgt", pieces if joint else pieces[::-1][:-5])):
        write_json(directory / f"vocab-{name}.json", {t: i for i, t in enumerate([*FAIRSEQ, *kept])})
    (directory / "merges.txt").write_text("".join(f"{merge}\n" for merge in merges), encoding="utf-8")
    write_json(
        directory / "tokenizer_config.json",
        {"tokenizer_class": "FSMTTokenizer", "langs": ["de", "en"], "model_max_length": POSITIONS},
    )
    config = FSMTConfig(
        langs=["de", "en"],
        src_vocab_size=len(pieces) + 4,
        tgt_vocab_size=len(pieces) + (4 if joint else -1),
        tie_word_embeddings=joint,
        max_position_embeddings=POSITIONS,
        **_sizes(),
    )
    _save(FSMTForConditionalGeneration, config, directory, seed, zero_row=1)


def write_joint_fsmt(directory: Path, seed: int = 2) -> None:
    """An FSMT base with one vocabulary for both sides and tied embeddings."""
    write_fsmt(directory, seed, joint=True)


BASES: dict[str, tuple[Callable[[Path], None], str, tuple[str, str]]] = {
    "marian": (write_marian, "marian", ("de", "en")),
    "marian-targets": (write_marian_of_many_targets, "marian", ("de", "eng")),
    "marian-separate": (write_separate_marian, "marian", ("de", "en")),
    "marian-larger": (write_marian_of_larger_target, "marian", ("de", "en")),
    "m2m100": (write_m2m100, "m2m_100", ("de", "en")),
    "nllb": (write_nllb, "m2m_100", ("deu_Latn", "eng_Latn")),
    "bart": (write_bart, "bart", ("de", "en")),
    "mbart": (write_mbart, "mbart", ("de_DE", "en_XX")),
    "mbart50": (write_mbart50, "mbart", ("de_DE", "en_XX")),
    "pegasus": (write_pegasus, "pegasus", ("de", "en")),
    "fsmt": (write_fsmt, "fsmt", ("de", "en")),
    "fsmt-joint": (write_joint_fsmt, "fsmt", ("de", "en")),
}
# Kinds that differ from one of BASES in what few tests look at.
VARIANTS: dict[str, tuple[Callable[[Path], None], str, tuple[str, str]]] = {
    "marian-smaller": (write_marian_of_smaller_target, "marian", ("de", "en")),
    "marian-inside": (partial(write_marian_of_larger_target, own_padding=False), "marian", ("de", "en")),
    "nllb-legacy": (write_legacy_nllb, "m2m_100", ("deu_Latn", "eng_Latn")),
}
# For what does not depend on the family: no prefix, a prefix from a tokenizers file, vocabularies of two sides.
CORE_BASES = ("marian", "nllb", "fsmt")


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


def _marian_config(size: int, **changes: Any) -> MarianConfig:
    settings = {
        "vocab_size": size,
        "pad_token_id": size - 1,
        "decoder_start_token_id": size - 1,
        "eos_token_id": 0,
        "bos_token_id": 0,
        "forced_eos_token_id": None,
        "activation_function": "swish",
        "scale_embedding": True,
        "max_position_embeddings": POSITIONS,
    }
    return MarianConfig(**(settings | _sizes() | changes))


def _fairseq(config: Any, vocabulary: int, **changes: Any) -> Any:
    settings = {
        "vocab_size": vocabulary,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
    }
    return config(**(settings | _sizes() | changes))


def _save(kind: Any, config: Any, directory: Path, seed: int, *, zero_row: int, start_row: int | None = None) -> None:
    # Weights must not depend on POSITIONS, as what is random when a model is made does: tests know how far they bear
    # quantization. So they are drawn from where the generator stands after a model of 300 positions.
    torch.manual_seed(seed)
    kind(type(config).from_dict(config.to_dict() | {"max_position_embeddings": 300}))
    state = torch.get_rng_state()
    model = kind(config)
    torch.set_rng_state(state)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "embed_positions" in name:
                continue
            is_embedding = "shared" in name or "embed_tokens" in name or "output_projection" in name
            parameter.normal_(std=0.3 if is_embedding else 0.6 if parameter.dim() > 1 else 0.2)
        for stack in (model.model.encoder, model.model.decoder):
            stack.embed_tokens.weight[zero_row].zero_()
        if start_row is not None:
            model.model.decoder.embed_tokens.weight[start_row].zero_()
        projection = model.lm_head if hasattr(model, "lm_head") else model.model.decoder.output_projection
        projection.weight[config.eos_token_id] *= 3
    model.save_pretrained(directory)
