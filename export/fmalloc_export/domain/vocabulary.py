"""The tokens that the emitted model reads and writes, by id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmalloc.model.text.tokens import is_marian, language_tokens, target_frame
from fmalloc_shared.errors import FmallocError

MARIAN = "marian"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id; most bases have one list for both sides.

    `special`: tokens that text is never encoded to. `unknown`: the token for pieces without an id. `pad`: the id of
    Marian's padding in `target`, which cannot be written, where it is not the last token and thus left out.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    special: tuple[str, ...]
    unknown: str
    end: str
    pad: int | None = None

    @property
    def writable(self) -> NDArray[np.int64]:
        """Ids of the target tokens that a model can write."""
        return np.array([index for index in range(len(self.target)) if index != self.pad], dtype=np.int64)


def vocabulary_of(model: Any, tokenizer: Any) -> Vocabulary:
    """The vocabularies of a transformers model; without Marian's pad token where it is the last.

    Read by id: the vocabularies that tokenizers list lack language tokens, or hold more than the model has.

    Raises FmallocError if the model and its tokenizer do not fit together.
    """
    sizes = [len(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings())]
    pad = None
    if model.config.model_type == MARIAN:
        _check_marian(model, tokenizer, sizes)
        pads = (model.config.pad_token_id, model.config.decoder_start_token_id)
        sizes = [size - (own == size - 1) for size, own in zip(sizes, pads, strict=True)]
        pad = pads[1] if pads[1] < sizes[1] else None
    # Not asked for by id: transformers gives the special tokens of a Marian source in the target's vocabulary too.
    by_id = tokenizer.decoder.get if is_marian(tokenizer) else tokenizer.convert_ids_to_tokens
    target, unnamed = _unique([by_id(index) for index in range(sizes[1])])
    source = target
    if (own := _source_ids(tokenizer)) is not None:
        tokens = {index: token for token, index in own.items()}
        source, unnamed_source = _unique([tokens.get(index) for index in range(sizes[0])])
        unnamed |= unnamed_source
    elif sizes[0] != sizes[1]:
        raise FmallocError(f"the model reads {sizes[0]} tokens and writes {sizes[1]}, but its tokenizer has one list")
    end, unknown = target[model.config.eos_token_id], str(tokenizer.unk_token)
    for token in (end, unknown):
        if token not in source or token not in target:
            raise FmallocError(f"the tokenizer's special token {token!r} is not among the model's tokens")
    languages = language_tokens(tokenizer).values()
    special = unnamed.union(tokenizer.all_special_tokens, getattr(tokenizer, "lang_token_to_id", ()), languages)
    return Vocabulary(
        source=source,
        target=target,
        special=tuple(token for token in dict.fromkeys((*target, *source)) if token in special),
        unknown=unknown,
        end=end,
        pad=pad,
    )


def needed_tokens(model: Any, tokenizer: Any, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Target tokens that every output needs: start, prefix (a language, <s>), end and unknown.

    `tokenizer` is the one of `model`, with its languages set. Marian has no start token.
    """
    start = () if model.config.model_type == MARIAN else (model.config.decoder_start_token_id,)
    ids = (*start, *target_frame(tokenizer).prefix)
    return tuple(dict.fromkeys((*(vocabulary.target[index] for index in ids), vocabulary.end, vocabulary.unknown)))


def language_token(vocabulary: Vocabulary, code: str) -> str:
    """The token that names a language to M2M100 (`__de__`), NLLB (`deu_Latn`) or mBART (`de_DE`).

    FmallocError if there is none.
    """
    for token in (f"__{code}__", code):
        if token in vocabulary.special:
            return token
    known = [token for token in vocabulary.special if token.startswith("__") or "_" in token]
    examples = ", ".join(token.strip("_") for token in known[:8]) or "none at all"
    raise FmallocError(f"language {code!r}: the base model has no token for it; it knows {examples} …")


def _source_ids(tokenizer: Any) -> Mapping[str, int] | None:
    """Ids of the source tokens where the tokenizer keeps them apart from the target's, as some Marian models' does."""
    if getattr(tokenizer, "separate_vocabs", False):
        return tokenizer.encoder  # type: ignore[no-any-return]
    return None


def _unique(found: Sequence[str | None]) -> tuple[tuple[str, ...], set[str]]:
    """A token for every id, and which are invented: ids beyond the tokenizer's last token are <unk> or None."""
    tokens: dict[str, None] = {}
    unnamed = set()
    for index, token in enumerate(found):
        if token is None or token in tokens:
            token = f"madeupword{index}"
            unnamed.add(token)
        if token in tokens:
            raise FmallocError(f"token {token!r} occurs twice in the tokenizer's vocabulary")
        tokens[token] = None
    return tuple(tokens), unnamed


def _check_marian(model: Any, tokenizer: Any, sizes: Sequence[int]) -> None:
    """Check that both sides' pads are where the configuration says, and that the decoder starts from zero.

    The engine starts from a zero embedding and has no pad token.
    """
    config = model.config
    pads = tokenizer.encoder.get("<pad>"), getattr(tokenizer, "target_encoder", tokenizer.encoder).get("<pad>")
    named = config.pad_token_id, config.decoder_start_token_id
    if named != pads or any(pad >= size for pad, size in zip(named, sizes, strict=True)):
        raise FmallocError(
            f"config.json: pad_token_id is {named[0]} and decoder_start_token_id {named[1]}; expected the ids of <pad> "
            f"in the source's and the target's vocabulary, {pads[0]} and {pads[1]}, below {sizes[0]} and {sizes[1]}"
        )
    largest = float(model.model.decoder.embed_tokens.weight[named[1]].abs().max())
    if largest != 0.0:
        raise FmallocError(
            f"embedding of the pad token {named[1]}: largest absolute value is {largest:.3g}, expected 0: it drifts "
            "when a tied model is trained without freezing it; set that row of the base model to zero and learn again"
        )
