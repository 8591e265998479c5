"""The tokens that the emitted model reads and writes, by id."""

from dataclasses import dataclass
from typing import Any

from fmalloc_shared.errors import FmallocError

MARIAN = "marian"
M2M_100 = "m2m_100"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id; most bases have one list for both sides.

    `special` are those that text never gives; `unknown` stands for pieces without an id.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    special: tuple[str, ...]
    unknown: str
    end: str


def vocabulary_of(model: Any, tokenizer: Any) -> Vocabulary:
    """The vocabulary of a transformers model, without Marian's pad token.

    Asked for by id: what tokenizers list as their vocabulary misses language tokens or holds more than the model.

    Raises FmallocError if the model and its tokenizer do not fit together.
    """
    size = int(model.config.vocab_size)
    if model.config.model_type == MARIAN:
        _check_marian(model)
        size -= 1
    found = tokenizer.convert_ids_to_tokens(list(range(size)))
    seen: set[str] = set()
    tokens, unnamed = [], set()
    for index, token in enumerate(found):
        # Embedding rows beyond the tokenizer's last token all come back as <unk> or nothing.
        if token is None or token in seen:
            token = f"madeupword{index}"
            unnamed.add(token)
        if token in seen:
            raise FmallocError(f"token {token!r} occurs twice in the tokenizer's vocabulary")
        seen.add(token)
        tokens.append(token)
    for role in ("eos_token", "unk_token"):
        if getattr(tokenizer, role) not in seen:
            raise FmallocError(f"the tokenizer's {role} {getattr(tokenizer, role)!r} is not among the model's tokens")
    special = unnamed.union(tokenizer.all_special_tokens, getattr(tokenizer, "lang_token_to_id", ()))
    return Vocabulary(
        source=tuple(tokens),
        target=tuple(tokens),
        special=tuple(token for token in tokens if token in special),
        unknown=str(tokenizer.unk_token),
        end=str(tokenizer.eos_token),
    )


def language_token(vocabulary: Vocabulary, code: str) -> str:
    """The token that names a language to M2M100 (`__de__`) or NLLB (`deu_Latn`); FmallocError if there is none."""
    for token in (f"__{code}__", code):
        if token in vocabulary.special:
            return token
    known = [token for token in vocabulary.special if token.startswith("__") or "_" in token]
    examples = ", ".join(token.strip("_") for token in known[:8]) or "none at all"
    raise FmallocError(f"language {code!r}: the base model has no token for it; it knows {examples} …")


def _check_marian(model: Any) -> None:
    """The engine starts from a zero embedding and drops the last row: both must be what pad means to Marian."""
    config = model.config
    last = config.vocab_size - 1
    if not config.share_encoder_decoder_embeddings or config.decoder_vocab_size != config.vocab_size:
        raise FmallocError(
            "this Marian model has separate source and target vocabularies; only shared ones can be exported"
        )
    if config.pad_token_id != last or config.decoder_start_token_id != last:
        raise FmallocError(
            f"config.json: pad_token_id is {config.pad_token_id} and decoder_start_token_id "
            f"{config.decoder_start_token_id}; expected the last token, {last}, for both"
        )
    largest = float(model.get_input_embeddings().weight[last].abs().max())
    if largest != 0.0:
        raise FmallocError(
            f"embedding of the pad token {last}: largest absolute value is {largest:.3g}, expected 0: it drifts when "
            "a tied model is trained without freezing it; set that row of the base model to zero and learn again"
        )
