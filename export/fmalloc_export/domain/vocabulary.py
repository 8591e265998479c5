"""The tokens that the emitted model reads and writes, by id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fmalloc.model.tokens import target_frame
from fmalloc_shared.errors import FmallocError

MARIAN = "marian"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id; most bases have one list for both sides.

    `special`: tokens that text is never encoded to. `unknown`: the token for pieces without an id.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    special: tuple[str, ...]
    unknown: str
    end: str


def vocabulary_of(model: Any, tokenizer: Any) -> Vocabulary:
    """The vocabularies of a transformers model, without Marian's pad token.

    Read by id: the vocabularies that tokenizers list lack language tokens, or hold more than the model has.

    Raises FmallocError if the model and its tokenizer do not fit together.
    """
    sizes = [len(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings())]
    if model.config.model_type == MARIAN:
        _check_marian(model, sizes)
        sizes = [size - 1 for size in sizes]
    target, unnamed = _unique(tokenizer.convert_ids_to_tokens(list(range(sizes[1]))))
    source = target
    if (own := _source_ids(tokenizer)) is not None:
        by_id = {index: token for token, index in own.items()}
        source, unnamed_source = _unique([by_id.get(index) for index in range(sizes[0])])
        unnamed |= unnamed_source
    elif sizes[0] != sizes[1]:
        raise FmallocError(f"the model reads {sizes[0]} tokens and writes {sizes[1]}, but its tokenizer has one list")
    end, unknown = target[model.config.eos_token_id], str(tokenizer.unk_token)
    for token in (end, unknown):
        if token not in source or token not in target:
            raise FmallocError(f"the tokenizer's special token {token!r} is not among the model's tokens")
    special = unnamed.union(tokenizer.all_special_tokens, getattr(tokenizer, "lang_token_to_id", ()))
    return Vocabulary(
        source=source,
        target=target,
        special=tuple(token for token in dict.fromkeys((*target, *source)) if token in special),
        unknown=unknown,
        end=end,
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


def _check_marian(model: Any, sizes: Sequence[int]) -> None:
    """Check that pad is the last token and has a zero embedding: the engine starts from zero and drops that row."""
    config = model.config
    last = sizes[0] - 1
    if sizes[1] != sizes[0]:
        raise FmallocError(f"this Marian model reads {sizes[0]} tokens and writes {sizes[1]}, expected as many")
    if config.pad_token_id != last or config.decoder_start_token_id != last:
        raise FmallocError(
            f"config.json: pad_token_id is {config.pad_token_id} and decoder_start_token_id "
            f"{config.decoder_start_token_id}; expected the last token, {last}, for both"
        )
    largest = float(model.model.decoder.embed_tokens.weight[last].abs().max())
    if largest != 0.0:
        raise FmallocError(
            f"embedding of the pad token {last}: largest absolute value is {largest:.3g}, expected 0: it drifts when "
            "a tied model is trained without freezing it; set that row of the base model to zero and learn again"
        )
