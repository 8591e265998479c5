"""Stores that are divided into parts, which learn apart, and united again."""
