"""Serve compiled domains: read bundles, route text, translate. Needs neither torch nor transformers."""
