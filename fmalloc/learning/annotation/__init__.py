"""Training pairs whose sources say beside their own text what the target is to have."""
