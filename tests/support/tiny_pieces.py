"""A dozen sentence pairs, and the pieces that tiny tokenizers cut them into."""

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from fmalloc.corpus import Pair

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
FAIRSEQ = ("<s>", "<pad>", "</s>", "<unk>")


def write_sentencepiece(path: Path, sentences: list[str]) -> list[str]:
    path.write_bytes(_trained(sentences))
    return [piece for piece, _ in _pieces_of(path.read_bytes())]


def scored_pieces() -> list[tuple[str, float]]:
    return _pieces_of(_trained([text for pair in PAIRS for text in pair]))


def _trained(sentences: list[str]) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        vocab_size=48,
        model_type="unigram",
        minloglevel=2,
        hard_vocab_limit=False,
        num_threads=1,
    )
    return model.getvalue()


def _pieces_of(model: bytes) -> list[tuple[str, float]]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = ((processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.get_piece_size()))
    return [(piece, score) for piece, score in pieces if piece not in ("<unk>", "<s>", "</s>")]


def mbart_pieces(codes: list[str]) -> list[tuple[str, float]]:
    return [*((t, 0.0) for t in FAIRSEQ), *scored_pieces(), *((code, 0.0) for code in codes), ("<mask>", 0.0)]


def byte_pairs() -> tuple[list[str], list[str]]:
    """30 merges of the pairs' words, whose last letter carries </w>; and all letters and merged pieces."""
    learned = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learned.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=80, end_of_word_suffix="</w>", show_progress=False)
    learned.train_from_iterator([text for pair in PAIRS for text in pair], trainer)
    merges = [" ".join(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]
    letters = sorted({letter for pair in PAIRS for text in pair for letter in text if letter != " "} | set(".,!?12"))
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    return merges, list(dict.fromkeys(pieces))


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
