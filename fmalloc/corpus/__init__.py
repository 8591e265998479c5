"""Parallel text: files in the formats that users have, read strictly, cleaned with a report, in train, dev and test."""

from fmalloc.corpus.pairs import Languages, Pair, digest
from fmalloc.corpus.parts import Corpus
from fmalloc.corpus.reading import read_corpus, read_pairs
from fmalloc.corpus.settings import EVERYTHING, CorpusSettings

__all__ = ["EVERYTHING", "Corpus", "CorpusSettings", "Languages", "Pair", "digest", "read_corpus", "read_pairs"]
