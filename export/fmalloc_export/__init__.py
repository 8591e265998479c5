"""Compile one learned domain of a memory store into a bundle that the runtime loads."""
