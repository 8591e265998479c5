from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fmalloc.corpus import Pair
from fmalloc.model.text.tokens import set_languages, target_ids
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.transformer import with_cells
from fmalloc_export.passes.bake_mask import BakeMask
from fmalloc_export.passes.calibration import TextCalibration
from fmalloc_shared.errors import FmallocError
from tests.support.stores import PAIRS, write_store

KINDS = ("marian", "m2m100", "fsmt")


@pytest.fixture(scope="module", params=KINDS)
def domain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Domain:
    """Activations with and without exact zeros; FSMT's layers work length first."""
    store = write_store(tmp_path_factory.mktemp(request.param) / "store", request.param)
    return Domain.load(store, "it")


def calibration(domain: Domain, pairs: tuple[Pair, ...] = PAIRS, positions: int = 10_000) -> TextCalibration:
    return TextCalibration(domain.base, domain.tokenizer, pairs, domain.languages, positions)


def direct(model: Any, domain: Domain, pair: Pair) -> dict[str, np.ndarray]:
    """The inputs of every fc2 for one pair, by transformers alone."""
    seen: dict[str, np.ndarray] = {}
    set_languages(domain.tokenizer, domain.languages)
    encoded = domain.tokenizer(pair.source, return_tensors="pt")
    target = torch.tensor(target_ids(domain.tokenizer, [pair.target]))
    start = torch.tensor([[model.config.decoder_start_token_id]])
    handles = []
    for stack, layers in (("encoder", model.get_encoder().layers), ("decoder", model.get_decoder().layers)):
        for index, layer in enumerate(layers):

            def hook(_module: Any, inputs: tuple[torch.Tensor], name: str = f"{stack}.{index}") -> None:
                seen[name] = inputs[0].reshape(-1, inputs[0].shape[-1]).numpy()

            handles.append(layer.fc2.register_forward_pre_hook(hook))
    with torch.inference_mode():
        model(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            decoder_input_ids=torch.cat([start, target[:, :-1]], dim=1),
            use_cache=False,
        )
    for handle in handles:
        handle.remove()
    return seen


def test_moments_are_those_of_the_model_on_every_token(domain: Domain) -> None:
    baked, _ = BakeMask().apply(domain.model)
    text = calibration(domain)
    model = with_cells(domain.base, baked)
    expected = [direct(model, domain, pair) for pair in PAIRS]
    moments, fired = text.moments(baked), text.fired(baked)
    assert list(moments) == list(fired) == list(baked.widths)
    for name in baked.widths:
        active = np.concatenate([seen[name] for seen in expected])
        assert len(active) == text.positions()[name.startswith("decoder")]
        np.testing.assert_allclose(moments[name].mean, active.mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(moments[name].covariance, np.cov(active.T, bias=True), rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(fired[name], (active != 0).any(axis=0))


def test_decoder_layers_see_the_changed_encoder(domain: Domain) -> None:
    baked, _ = BakeMask().apply(domain.model)
    text = calibration(domain)
    before = text.moments(baked)["decoder.0"].mean
    first = replace(baked.feed_forward[0], fc2_bias=baked.feed_forward[0].fc2_bias[::-1].copy())
    other = replace(baked, feed_forward=(first, *baked.feed_forward[1:]))
    assert np.abs(text.moments(other)["decoder.0"].mean - before).max() > 1e-4
    np.testing.assert_array_equal(text.moments(baked)["decoder.0"].mean, before)


def test_long_texts_are_thinned_evenly(domain: Domain) -> None:
    many = PAIRS * 20
    text = calibration(domain, many, positions=300)
    assert 270 <= min(text.positions()) < 400
    whole = calibration(domain, many)
    assert min(whole.positions()) > 1500


def test_the_base_stays_as_it_was(domain: Domain) -> None:
    before = {name: tensor.clone() for name, tensor in domain.base.state_dict().items()}
    baked, _ = BakeMask().apply(domain.model)
    calibration(domain).fired(baked)
    after = domain.base.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_text_of_which_nothing_fits_is_refused(domain: Domain) -> None:
    long = (Pair("der bote " * 400, "the courier " * 400),)
    with pytest.raises(FmallocError, match="none of its 1 pairs fits into"):
        calibration(domain, long)


def test_the_same_text_gives_the_same_numbers(domain: Domain) -> None:
    baked, _ = BakeMask().apply(domain.model)
    found = [calibration(domain).moments(baked)["decoder.1"].covariance for _ in range(2)]
    np.testing.assert_array_equal(*found)
