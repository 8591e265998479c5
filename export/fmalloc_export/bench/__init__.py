"""How fast models are on this machine, beside each other."""
