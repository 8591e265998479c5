"""Parallel text: files in the formats that users have, read strictly, cleaned with a report, in train, dev and test."""

from fmalloc.corpus.cleaning import EVERYTHING, CorpusSettings
from fmalloc.corpus.pairs import Corpus, Pair, digest, spread
from fmalloc.corpus.reading import read_corpus, read_pairs, read_train_and_dev
from fmalloc.corpus.sources import read_sources

__all__ = [
    "EVERYTHING",
    "Corpus",
    "CorpusSettings",
    "Pair",
    "digest",
    "read_corpus",
    "read_pairs",
    "read_sources",
    "read_train_and_dev",
    "spread",
]
