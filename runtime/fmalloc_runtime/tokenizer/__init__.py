"""Text to tokens and back, without transformers."""
