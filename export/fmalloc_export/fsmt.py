"""FSMT (WMT19) for CTranslate2, whose converters know BART but not FSMT.

FSMT is BART without learned positions and without layer norms on embeddings; its output layer is the decoder's.
"""

from typing import Any

from ctranslate2.converters.transformers import BartLoader


class FSMTLoader(BartLoader):  # type: ignore[misc]
    """Fills the same specification from an FSMTForConditionalGeneration."""

    def get_model_spec(self, model: Any) -> Any:
        """The dense specification; sets what a BART would have on `model`."""
        model.config.normalize_before = False
        model.config.normalize_embedding = False
        model.lm_head = model.model.decoder.output_projection
        return super().get_model_spec(model)

    def set_position_encodings(self, spec: Any, module: Any) -> None:
        """Fill `encodings` (positions, d): the module's rows up to its padding index are for no position."""
        spec.encodings = module.weight[module.padding_idx + 1 :]
