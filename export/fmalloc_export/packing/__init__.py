"""Bundles that share: what they store only once, and the commands that look after them."""
