"""Transformer models as memory cells: where the cells are, how text becomes tokens, what the loss is."""
