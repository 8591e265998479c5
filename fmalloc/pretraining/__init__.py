"""`fmalloc pretrain`: a base translation model from scratch, in transformers' layout of Marian models."""
