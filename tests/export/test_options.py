import pytest

from fmalloc_export.options import Options
from fmalloc_shared.errors import FmallocError


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"keep": 0.5}, "cells are compacted at -O2 and -O3 only, this is -O0"),
        ({"level": "O2", "keep": 0.0}, "keep 0.0: expected a share above 0"),
        ({"level": "O2", "keep": 1.5}, "keep 1.5: expected a share above 0, at most 1"),
        ({"level": "O2", "keep": float("nan")}, "keep nan"),
        ({"vocabulary": 9}, "vocabulary 9: target tokens are trimmed at -O1 and above only"),
        ({"level": "O1", "vocabulary": 0}, "vocabulary 0: expected 1 token or more"),
        ({"beam_size": 0}, "beam size 0: expected 1 to 64"),
        ({"beam_size": 65}, "beam size 65: expected 1 to 64"),
        ({"level": "O2", "max_quality_drop": -1.0}, "max quality drop -1.0: expected 0 to 100 points"),
        ({"level": "O2", "max_quality_drop": float("nan")}, "max quality drop nan"),
        ({"max_quality_drop": float("inf")}, "max quality drop inf"),
        ({"allow_quality_drop": True}, "-O0 has no bound to exceed"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(FmallocError, match=problem):
        Options(**options)  # type: ignore[arg-type]


def test_o0_is_bound_only_if_asked_for() -> None:
    assert Options().bound is None
    assert Options(max_quality_drop=0.1).bound == 0.1
    assert [Options(level=level).bound for level in ("O1", "O2", "O3")] == [0.3] * 3
    assert Options(level="O1", max_quality_drop=0.0).bound == 0.0
