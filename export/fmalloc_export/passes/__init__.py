"""One pass per file: each maps a DomainModel to a new one and reports what it did."""
