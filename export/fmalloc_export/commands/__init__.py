"""The verbs that compile, prove and score models; each imports what it needs when it runs."""
