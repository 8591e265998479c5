"""A domain's model as arrays: what the passes change and the emitters write."""
