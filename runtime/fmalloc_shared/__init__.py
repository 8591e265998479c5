"""What learning, compiling and serving must agree on to the byte: names, digests, routing features, errors."""

__version__ = "0.1.0"
