"""Texts as users have them, to sentences that a model reads, and back."""
