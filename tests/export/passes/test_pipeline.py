import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fmalloc_export.domain.model import PADDING, DomainModel, FeedForward
from fmalloc_export.passes import pipeline
from fmalloc_export.passes.bake_mask import BakeMask
from fmalloc_export.passes.pad_width import PadWidth
from fmalloc_shared.errors import FmallocError
from tests.support.stores import subprocess_environment

D_MODEL = 8


def model(*kept: int, width: int = 12) -> DomainModel:
    """A layer for each number of cells to keep."""
    draw = np.random.default_rng(len(kept))
    layers = []
    for index, count in enumerate(kept):
        mask = np.zeros(width, dtype=np.bool_)
        mask[draw.permutation(width)[:count]] = True
        layers.append(
            FeedForward(
                name=f"encoder.{index}",
                cells=np.arange(width, dtype=np.int64),
                mask=mask,
                fc1_weight=draw.normal(size=(width, D_MODEL)).astype(np.float32),
                fc1_bias=draw.normal(size=width).astype(np.float32),
                fc2_weight=draw.normal(size=(D_MODEL, width)).astype(np.float32),
                fc2_bias=draw.normal(size=D_MODEL).astype(np.float32),
            )
        )
    return DomainModel("it", "marian", "relu", tuple(layers), np.arange(20))


def output(layer: FeedForward, hidden: NDArray[np.float32]) -> NDArray[np.float64]:
    """FFN(x) as its definition says, in float64."""
    active = np.maximum(hidden.astype(np.float64) @ layer.fc1_weight.T + layer.fc1_bias, 0)
    return np.asarray((active * layer.mask) @ layer.fc2_weight.T + layer.fc2_bias)


def same_function(before: DomainModel, after: DomainModel) -> None:
    hidden = np.random.default_rng(0).normal(size=(50, D_MODEL)).astype(np.float32)
    for old, new in zip(before.feed_forward, after.feed_forward, strict=True):
        np.testing.assert_allclose(output(new, hidden), output(old, hidden), rtol=0, atol=1e-12)


def test_bake_mask_keeps_exactly_the_cells_that_are_on() -> None:
    before = model(5, 0, 1, 12)
    after, report = BakeMask().apply(before)
    after.verify()
    assert after.widths == {"encoder.0": 5, "encoder.1": 0, "encoder.2": 1, "encoder.3": 12}
    assert report == "kept 18 of 48 cells in 4 layers"
    for old, new in zip(before.feed_forward, after.feed_forward, strict=True):
        np.testing.assert_array_equal(new.cells, np.flatnonzero(old.mask))
        np.testing.assert_array_equal(new.fc2_weight, old.fc2_weight[:, old.mask])
        assert new.mask.all()
    same_function(before, after)
    assert after.widths == BakeMask().apply(after)[0].widths


@pytest.mark.parametrize(
    ("multiple", "widths"), [(1, (1, 1, 5, 12)), (4, (4, 4, 8, 12)), (8, (8, 8, 8, 16)), (16, (16, 16, 16, 16))]
)
def test_pad_width_fills_up_to_a_positive_multiple(multiple: int, widths: tuple[int, ...]) -> None:
    before, _ = BakeMask().apply(model(0, 1, 5, 12))
    after, report = PadWidth(multiple).apply(before)
    after.verify()
    assert tuple(after.widths.values()) == widths
    added = sum(widths) - 18
    assert report.startswith(f"added {added} zero cells in ")
    assert sum((layer.cells == PADDING).sum() for layer in after.feed_forward) == added
    same_function(before, after)


def test_pad_width_says_when_it_has_nothing_to_do() -> None:
    before, _ = BakeMask().apply(model(4, 8))
    after, report = PadWidth(4).apply(before)
    assert after.widths == before.widths
    assert report == "nothing to do: all widths are positive multiples of 4"


def test_passes_leave_their_input_as_it_was() -> None:
    before = model(3, 0)
    copies = [{f: getattr(layer, f).copy() for f in ("cells", "mask", "fc1_weight")} for layer in before.feed_forward]
    after = pipeline.run(before, pipeline.exact("int8"))[-1].model
    for layer in after.feed_forward:
        for array in (layer.fc1_weight, layer.fc1_bias, layer.fc2_weight):
            array[...] = 7
    for layer, fields in zip(before.feed_forward, copies, strict=True):
        for field, content in fields.items():
            np.testing.assert_array_equal(getattr(layer, field), content)
        assert (layer.fc2_weight != 7).all()


@pytest.mark.parametrize(("quantization", "widths"), [("float32", [1, 5]), ("int8", [16, 16]), ("float16", [16, 16])])
def test_the_pipeline_bakes_then_pads(quantization: str, widths: list[int]) -> None:
    before = model(0, 5)
    steps = pipeline.run(before, pipeline.exact(quantization))
    assert [step.name for step in steps] == ["bake-mask", "pad-width"]
    after = steps[-1].model
    assert list(after.widths.values()) == widths
    same_function(before, after)


def test_the_pipeline_verifies_what_each_pass_returns() -> None:
    class Forget:
        name = "forget"
        exact = False

        def explain(self, model: DomainModel) -> str:
            return f"would reverse the cells of {model.domain}"

        def apply(self, model: DomainModel) -> tuple[DomainModel, str]:
            first = replace(model.feed_forward[0], cells=model.feed_forward[0].cells[::-1])
            return replace(model, feed_forward=(first,)), "reversed the cells"

    with pytest.raises(FmallocError, match="encoder.0: cell ids are not strictly ascending"):
        pipeline.run(model(5), [BakeMask(), Forget()])


def test_passes_explain_themselves_without_doing_anything() -> None:
    before = model(5, 0)
    explained = BakeMask().explain(before)
    assert explained == "would keep the 5 of 24 cells that the domain uses; nothing changes"
    assert PadWidth(16).explain(before).startswith("would fill every width up to a positive multiple of 16")


def test_passes_need_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; import fmalloc_export.passes.pipeline"
    )
    subprocess.run([sys.executable, "-c", code], env=subprocess_environment(), check=True, timeout=60)
