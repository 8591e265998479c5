"""The bundle format: manifest, hashes, packed files and deltas."""
