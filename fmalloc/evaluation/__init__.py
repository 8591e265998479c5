"""Scores of a model on a test set, their significance, and the score matrix."""
