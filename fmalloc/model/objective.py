"""What training minimises and watches: label-smoothed cross-entropy, and the NLL with true and with shuffled sources.

Where the output projection is frozen, the loss and its gradient are computed from hidden states in blocks of the
vocabulary: the logits of a batch, which are most of the memory that training takes, never exist as a whole.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fmalloc.model.architectures import FAMILIES
from fmalloc.model.devices import Device, attention
from fmalloc.model.text.batches import IGNORED, Batch, Example, ordered_batches
from fmalloc_shared.errors import FmallocError

# Nats per token that true sources have to gain over shuffled ones, or the model does not translate.
SOURCE_GAP = 0.05
# Logits held at a time: a few megabytes stay in a processor's cache.
_BLOCK = {"cpu": 2**20}
_BLOCK_ELSEWHERE = 2**26


def logits(model: Any, batch: Batch) -> Tensor:
    """Next-token logits under teacher forcing, float32, shape (batch, target length, vocabulary)."""
    return forward(model, model.config, batch).logits.float()  # type: ignore[no-any-return]


def forward(model: Any, config: Any, batch: Batch) -> Any:
    """What a model, or its body without the output projection, gives under teacher forcing; `config`: the model's."""
    with attention(batch.source.device):
        return model(
            input_ids=batch.source,
            decoder_input_ids=shifted_right(batch.target, config),
            use_cache=False,
            **_masks(config, batch),
        )


def _masks(config: Any, batch: Batch) -> dict[str, Tensor]:
    """Which positions attend to which. From a mask of tokens transformers makes one of positions.

    It looks first whether anything is masked at all, and waits for the device to know; one of positions it takes as it
    is. A CPU has nothing to wait for, and FSMT only takes the former.
    """
    if batch.source.device.type == "cpu" or config._attn_implementation != "sdpa":
        return {"attention_mask": batch.source_mask}
    return masks_of_positions(batch)


def masks_of_positions(batch: Batch) -> dict[str, Tensor]:
    """True where a position may attend to another: (batch, 1, 1, source length), (1, 1, target length, the same)."""
    length = batch.target.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=batch.target.device).tril()
    return {"attention_mask": batch.source_mask[:, None, None].bool(), "decoder_attention_mask": causal[None, None]}


def shifted_right(target: Tensor, config: Any) -> Tensor:
    """Decoder input: the start token, then the target without its last token; padding stays padding."""
    shifted = target.roll(1, dims=1)
    shifted[:, 0] = config.decoder_start_token_id
    return shifted.masked_fill(shifted == IGNORED, config.pad_token_id)


def smoothed_loss(model: Any, batch: Batch, label_smoothing: float) -> Tensor:
    """Mean label-smoothed cross-entropy over the batch's target tokens, in nats."""
    projection = Projection.of(model)
    if projection is None:
        return smoothed_cross_entropy(logits(model, batch), batch, label_smoothing)
    hidden, target = forward(model.model, model.config, batch).last_hidden_state, batch.of_tokens(batch.target)
    return smoothed_sum(batch.of_tokens(hidden), projection, target, label_smoothing) / batch.target_tokens


def smoothed_cross_entropy(scores: Tensor, batch: Batch, label_smoothing: float) -> Tensor:
    """Mean label-smoothed cross-entropy of logits of shape (batch, target length, vocabulary), in nats."""
    return F.cross_entropy(
        scores.flatten(0, 1), batch.target.flatten(), ignore_index=IGNORED, label_smoothing=label_smoothing
    )


class Projection(NamedTuple):
    """weight (vocabulary, d_model) and bias (vocabulary,), or None."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, model: Any) -> "Projection | None":
        """The model's projection if it is frozen and stands right behind `model.model`.

        A model that peft wraps has no body of its own.
        """
        if FAMILIES[model.config.model_type].projects_in_decoder or not hasattr(model.model, "decoder"):
            return None
        if model.lm_head.weight.requires_grad:
            return None
        bias = getattr(model, "final_logits_bias", model.lm_head.bias)
        if bias is not None and bias.requires_grad:
            return None
        return cls(model.lm_head.weight, None if bias is None else bias.flatten())


def smoothed_sum(hidden: Tensor, projection: Projection, target: Tensor, label_smoothing: float) -> Tensor:
    """Label-smoothed cross-entropy, summed, in nats; hidden: (positions, d_model), target: (positions,)."""
    weight, bias = projection
    if torch.is_autocast_enabled(hidden.device.type):
        kind = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight, bias = hidden.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
    loss: Tensor = _SmoothedLoss.apply(hidden, weight, bias, target, label_smoothing)  # type: ignore[no-untyped-call]
    return loss


class _SmoothedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, smoothing: float
    ) -> Tensor:
        mean_row, mean_bias = weight.mean(0), bias.mean() if bias is not None else 0.0
        log_sum, expected = _softmax(hidden, weight, bias, expects=context.needs_input_grad[0])
        wanted = weight[target]
        chosen = (hidden.float() * wanted.float()).sum(1) + (bias[target] if bias is not None else 0.0)
        smooth = (hidden @ mean_row).float() + mean_bias
        if expected is not None:
            context.save_for_backward((expected - (1 - smoothing) * wanted - smoothing * mean_row).to(hidden.dtype))
        return (log_sum - (1 - smoothing) * chosen - smoothing * smooth).sum()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = context.saved_tensors
        return gradient * gradients[0].to(gradient.dtype), None, None, None, None


def _softmax(hidden: Tensor, weight: Tensor, bias: Tensor | None, *, expects: bool) -> tuple[Tensor, Tensor | None]:
    """Log of each row's sum of exponentials, and the row of weights expected under its softmax, in float32.

    Columns pass in blocks; sums relate to the largest logit so far (Milakov & Gimelshein 2018, online softmax).
    """
    rows, width = hidden.shape
    largest = torch.full((rows,), torch.finfo(torch.float32).min, device=hidden.device)
    total = torch.zeros_like(largest)
    expected = torch.zeros(rows, width, device=hidden.device) if expects else None
    step = max(1, _BLOCK.get(hidden.device.type, _BLOCK_ELSEWHERE) // max(1, rows))
    for start in range(0, len(weight), step):
        block = weight[start : start + step]
        logits = F.linear(hidden, block, None if bias is None else bias[start : start + step]).float()
        before, largest = largest, torch.maximum(largest, logits.amax(1))
        shrunk, powers = torch.exp(before - largest), logits.sub_(largest[:, None]).exp_()
        total = total * shrunk + powers.sum(1)
        if expected is not None:
            expected.mul_(shrunk[:, None]).add_(powers.to(block.dtype) @ block)
    return largest + total.log(), None if expected is None else expected.div_(total[:, None])


def chance(model: Any) -> float:
    """The loss of a model that knows nothing, in nats per token: ln of the size of its target vocabulary."""
    return math.log(len(model.get_output_embeddings().weight))


class Nll(NamedTuple):
    """Nats per target token; for `shuffled`, each sentence has the source of another one in its batch."""

    true: float
    shuffled: float


# How work on many items is divided: it gives the results of `work`, one per item, for all of them.
Share = Callable[[Sequence[Any], Callable[[Sequence[Any]], Sequence[Any]]], Sequence[Any]]


def alone(items: Sequence[Any], work: Callable[[Sequence[Any]], Sequence[Any]]) -> Sequence[Any]:
    """All by this process."""
    return work(items)


def nll(
    model: Any,
    examples: Sequence[Example],
    device: Device,
    *,
    batch_tokens: int,
    pad: int,
    share: Share = alone,
) -> float:
    """Negative log-likelihood without dropout, in nats per target token; the model's mode is restored."""
    return _mean(model, list(ordered_batches(examples, batch_tokens, pad)), device, share)


def contrasted_nll(
    model: Any,
    examples: Sequence[Example],
    device: Device,
    *,
    batch_tokens: int,
    pad: int,
    share: Share = alone,
) -> Nll:
    """The NLL with true and with shuffled sources."""
    batches = list(ordered_batches(examples, batch_tokens, pad))
    shuffled = [Batch(batch.source.roll(1, 0), batch.source_mask.roll(1, 0), batch.target) for batch in batches]
    return Nll(_mean(model, batches, device, share), _mean(model, shuffled, device, share))


def _mean(model: Any, batches: Sequence[Batch], device: Device, share: Share) -> float:
    """Whoever computed which batches, their losses are added in one order."""
    total, tokens = 0.0, sum(batch.target_tokens for batch in batches)
    for loss in share(batches, lambda mine: _losses(model, mine, device)):
        total += loss
    if not math.isfinite(total):
        raise FmallocError(f"the NLL of {tokens} tokens is {total}: the model has values that are not finite")
    return total / max(1, tokens)


@torch.no_grad()
def _losses(model: Any, batches: Iterable[Batch], device: Device) -> list[float]:
    """The sum over each batch's target tokens; what they are is read when all are computed."""
    was_training = model.training
    model.eval()
    found = []
    for batch in batches:
        moved = batch.on(device.torch, model.config)
        with device.autocast():
            scores = logits(model, moved)
        loss = F.cross_entropy(scores.flatten(0, 1), moved.target.flatten(), ignore_index=IGNORED, reduction="sum")
        found.append(loss)
    model.train(was_training)
    return torch.stack(found).tolist() if found else []
