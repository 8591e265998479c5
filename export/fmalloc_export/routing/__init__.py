"""`fmalloc routing costs`: what a wrong domain costs, and the threshold that follows."""
