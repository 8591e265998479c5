"""Tests of fmalloc."""
