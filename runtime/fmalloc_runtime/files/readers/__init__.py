"""One reader per family of formats: where the texts to translate are, and what is written in their place."""
