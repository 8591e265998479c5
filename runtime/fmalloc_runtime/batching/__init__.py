"""Admission, the queue, and batches across requests."""
