"""What some tests need and not every machine has."""

import os
from typing import NoReturn

import pytest

REQUIRED = "TESTS_REQUIRE"
NEEDS = {
    "cuda": "a GPU, and a PyTorch that finds CUDA on it; learning and evaluation are tested there",
    "browser": "Chromium, package chromium (Debian) or google-chrome, in which the pages are tested",
    "minisign": "the program minisign, package minisign (Debian), which reads our signatures and makes others",
    "mount": "the right to mount a small file system, which a test fills up",
    "glibc": "the C library of GNU, which can be told to give freed memory back",
    "proc": "/proc, from which peak memory and open files are read",
}


def required() -> frozenset[str]:
    """The needs that TESTS_REQUIRE names, with commas between them: what the machine is known to have.

    Raises:
        pytest.UsageError: a name is not one of NEEDS; a misspelled one would require nothing.
    """
    names = frozenset(filter(None, os.environ.get(REQUIRED, "").split(",")))
    if unknown := names - NEEDS.keys():
        raise pytest.UsageError(f"{REQUIRED}: {', '.join(sorted(unknown))}: expected some of {', '.join(NEEDS)}")
    return names


def skip_without(need: str) -> NoReturn:
    """Skip a test that lacks one of NEEDS; fail it if TESTS_REQUIRE says that the machine has it."""
    if need in required():
        pytest.fail(f"{REQUIRED} names {need}, but it is missing: {NEEDS[need]}")
    pytest.skip(f"{need}: {NEEDS[need]}")
