"""Students of domains: made or found for -O3, the general ones, and the search for their depth."""
