"""Options of a Triton repository."""

import pytest

from fmalloc_export.triton.options import TritonOptions
from fmalloc_shared.errors import FmallocError


@pytest.mark.parametrize("wrong", [{"instances": 0}, {"queue_seconds": -1.0}, {"batch_texts": 0}, {"router": "a b"}])
def test_options_that_triton_would_not_take(wrong: dict[str, object]) -> None:
    with pytest.raises(FmallocError):
        TritonOptions(**wrong)  # type: ignore[arg-type]
