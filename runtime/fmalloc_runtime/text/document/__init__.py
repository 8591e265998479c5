"""A document as segments: markup to blocks of text, blocks to sentences, and what a model reads of each."""
