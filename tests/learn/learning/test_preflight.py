"""What learning checks before it begins; tests/commands/test_preflight.py has the table of what stops it."""

from pathlib import Path

import pytest
import torch

from fmalloc.learning.preflight import preflight
from fmalloc.model.architectures import load_base, positions_of
from fmalloc.recipe import Recipe
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES
from tests.support.corpora import write_domain


def test_longer_pairs_than_the_base_can_read_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    BASES["marian"][0](tmp_path / "base")
    for name in ("general", "office", "games"):
        write_domain(tmp_path / name, name)
    content = {
        "base": str(tmp_path / "base"),
        "general": str(tmp_path / "general"),
        "store": str(tmp_path / "store"),
        "languages": {"source": "de", "target": "en"},
        "learning": {"updates": 5, "maximum_length": 1000},
        "tasks": [
            {"name": "office", "data": str(tmp_path / "office"), "learning": {"maximum_length": 40}},
            {"name": "games", "data": str(tmp_path / "games")},
        ],
    }
    run = preflight(Recipe.model_validate(content))
    positions = positions_of(tmp_path / "base")
    assert run.recipe.learning.maximum_length == positions
    assert {name: plan.learning.maximum_length for name, plan in run.plans.items()} == {
        "office": 40,
        "games": positions,
    }
    assert f"maximum_length 1000: the base has {positions} positions" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("kind", BASES)
def test_every_family_reads_as_many_tokens_as_it_has_positions(tmp_path: Path, kind: str) -> None:
    write, _, languages = BASES[kind]
    write(tmp_path / "base")
    model, _ = load_base(tmp_path / "base", LanguagePair(*languages))
    tokens = torch.full((1, positions_of(tmp_path / "base")), 5)
    assert model(input_ids=tokens, labels=tokens).loss.isfinite()
