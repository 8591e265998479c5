"""A domain: loaded from a store, with its cells as arrays, its vocabulary, tokenizer and word alignment."""
