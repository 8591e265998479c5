"""Which domain a text belongs to, why, and what was decided before."""
