"""Compares methods under one protocol: runs them, keeps what they reach in comparison.json, and summarises it."""
