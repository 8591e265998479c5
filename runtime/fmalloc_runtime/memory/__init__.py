"""Translation memories: pairs of a domain in its bundle, found again word for word or nearly so."""
