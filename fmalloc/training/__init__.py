"""One training loop, and all that surrounds it: checkpoints, validation, interrupts, several processes."""
