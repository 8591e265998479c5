"""The checks before a bundle is published: parity, golden translations, quality, size."""
