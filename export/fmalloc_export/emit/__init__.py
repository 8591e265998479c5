"""Write a domain's model in an engine's format."""
