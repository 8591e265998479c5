import pytest

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import check_name


def test_names() -> None:
    for name in ("it", "law-eu", "client_7", "0", "x" * 63):
        assert check_name(name) == name
    for name in ("", "-a", "A", "a b", "a/b", "..", "../x", "x" * 64, "ü", "a\n"):
        with pytest.raises(FmallocError, match="domain name"):
            check_name(name)
