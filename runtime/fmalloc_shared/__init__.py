"""What learning, compiling and serving must agree on to the byte: names, digests, routing features, errors."""
