"""Distillation: a student with fewer decoder layers than its teacher, and all that teaches it to answer alike."""
