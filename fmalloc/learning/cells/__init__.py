"""Which cells a task may claim, and how they and their gates start."""
