"""A translated segment put back into its document: tags and items in their places."""
