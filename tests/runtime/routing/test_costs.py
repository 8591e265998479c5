"""routing.json: read strictly, complete, and honest about the bundles that it is of."""

from pathlib import Path
from typing import Any

import pytest

from fmalloc_runtime.routing.costs import ROUTING_COSTS_FILE, RoutingCosts
from fmalloc_shared.errors import FmallocError
from tests.support.routing_costs import NAMES, record, write


def read(directory: Path) -> RoutingCosts:
    costs = RoutingCosts.of(directory)
    assert costs is not None
    return costs


def test_there_need_be_none(tmp_path: Path) -> None:
    assert RoutingCosts.of(tmp_path) is None


def test_what_a_wrong_domain_costs(tmp_path: Path) -> None:
    write(tmp_path, record())
    costs = read(tmp_path)
    assert costs.threshold == 0.45
    assert (costs.cost("it", "general"), costs.cost("general", "it"), costs.cost("it", "it")) == (30.0, 25.0, 0.0)
    write(tmp_path, record(metric="bleu"))
    assert read(tmp_path).cost("it", "general") == 20.0
    again = write(tmp_path, "x")
    again.write_bytes(costs.to_bytes())
    assert read(tmp_path) == costs


def test_other_bundles_than_the_live_ones_are_named(tmp_path: Path) -> None:
    write(tmp_path, record())
    costs = read(tmp_path)
    assert costs.stale(NAMES) is None
    changed = {"it": "it@ffffffffffff", "law": "law@0123456789ab"}
    assert costs.stale(changed) == (
        "routing.json is for other bundles of general, it, law: run fmalloc routing costs again"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2, this program reads version 1"),
        ({"threshold": 1.5}, "threshold: Input should be less than or equal to 1, found 1.5"),
        ({"threshold": "0.5"}, "threshold: "),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"bundles": {**NAMES, "../law": "x"}}, "domain name '../law'"),
        ({"texts": {}}, "texts: expected those of general, it"),
        ({"matrix": {}}, "matrix: expected a row and a column for each of general, it"),
        ({"metric": "comet"}, "metric: "),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path, record(**changes))
    with pytest.raises(FmallocError) as caught:
        RoutingCosts.of(tmp_path)
    assert message in str(caught.value) and ROUTING_COSTS_FILE in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "\0"])
def test_what_is_no_record_is_refused(tmp_path: Path, content: str) -> None:
    write(tmp_path, content)
    with pytest.raises(FmallocError, match=r"routing\.json: "):
        RoutingCosts.of(tmp_path)


def test_a_directory_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ROUTING_COSTS_FILE).mkdir()
    with pytest.raises(FmallocError, match="cannot be read: Is a directory"):
        RoutingCosts.of(tmp_path)
