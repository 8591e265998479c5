"""Routing of texts to domains, its costs, and the log of its decisions."""
