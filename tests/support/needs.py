"""What a test needs that not every machine has."""

import os
from typing import NoReturn

import pytest

REQUIRED = "TESTS_REQUIRE"


def skip_without(need: str, reason: str) -> NoReturn:
    """Skip the test; fail it where TESTS_REQUIRE, names with commas between them, says that `need` is there."""
    if need in os.environ.get(REQUIRED, "").split(","):
        pytest.fail(f"{REQUIRED} names {need}, but: {reason}")
    pytest.skip(reason)
