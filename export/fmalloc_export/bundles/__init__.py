"""A directory of bundles: publish, pack, list and prune them."""
