"""One pass a file; a pass maps a DomainModel to a new one and says what it did."""
