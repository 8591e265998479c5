import numpy as np
import pytest

from fmalloc.store.cells import CellTable, general_mask
from fmalloc_shared.errors import FmallocError


@pytest.mark.parametrize(("width", "sparsity", "freed"), [(1024, 0.2, 205), (10, 0.25, 2), (64, 0.5, 32), (3, 0.1, 0)])
def test_exactly_the_share_is_freed_also_with_ties(width: int, sparsity: float, freed: int) -> None:
    for importance in (np.zeros(width), np.random.default_rng(1).random(width)):
        assert int((~general_mask(importance, sparsity)).sum()) == freed


def test_the_least_important_are_freed_and_ties_by_index() -> None:
    mask = general_mask(np.array([3.0, 0.0, 2.0, 0.0, 0.0, 9.0]), 0.5)
    assert mask.tolist() == [True, False, True, False, False, True]
    assert general_mask(np.array([1.0, 0.0, 0.0, 0.0]), 0.5).tolist() == [True, False, False, True]


def test_cells_are_claimed_once() -> None:
    table = CellTable.general({"encoder.0": np.array([True, False, False, True])})
    assert table.free("encoder.0").tolist() == [1, 2]
    claimed = table.claim(1, {"encoder.0": np.array([2])})
    assert (claimed.count(1), claimed.free_count()) == ({"encoder.0": 1}, {"encoder.0": 1})
    assert table.free("encoder.0").tolist() == [1, 2]
    for taken in (0, 2):
        with pytest.raises(FmallocError, match=rf"encoder.0: cells \[{taken}\] are owned already"):
            claimed.claim(2, {"encoder.0": np.array([taken])})
    with pytest.raises(FmallocError, match="layer 'decoder.9': unknown"):
        table.claim(1, {"decoder.9": np.array([0])})
