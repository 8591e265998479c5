"""How many examples a property test draws: ten times as many for `make test-long`, which sets TESTS_LONG."""

import os

_TIMES = 10 if os.environ.get("TESTS_LONG") else 1


def many(usual: int) -> int:
    """So many, or as many as a long run asks for."""
    return usual * _TIMES
