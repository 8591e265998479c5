"""A folder of bundles: published, packed, listed and compared."""
