"""A datastore of decoder states, and its search: what "Nearest neighbor machine translation" translates with.

Khandelwal, Fan, Jurafsky, Zettlemoyer and Lewis (ICLR 2021), section 2: an entry per target token of the training text.
Its key is the input of the last decoder layer's feed-forward block under teacher forcing, its value the token that
comes next. Keys are float16. They are searched as in the paper by an inverted file of FAISS (Douze et al. 2024, "The
Faiss library"): k-means sorts them into lists, and those of the nearest centroids are searched. Unlike in the paper
keys are not quantized, because smaller ones would be worse.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmalloc.corpus import Pair, digest
from fmalloc.model.architectures import feed_forward_layers
from fmalloc.model.base import weight_files
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import Batch, encode, ordered_batches
from fmalloc_shared.commands.progress import bar
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256, write_atomically
from fmalloc_shared.languages import LanguagePair

_KEYS, _VALUES, _INDEX, _RECORD = "keys.npy", "values.npy", "lists.faiss", "datastore.json"
_FORMAT = 1
_BATCH_TOKENS = 2048
# Keys per list on average, lists at most (training them takes the square of their number), and lists that are searched.
_PER_LIST, _MOST_LISTS, _SEARCHED = 1000, 4096, 16
_TOGETHER = 1 << 15


@dataclass(frozen=True)
class Datastore:
    """keys: (entries, d_model), float16; values: token ids, (entries,). index: of FAISS, with a list of keys each.

    record: pairs, seconds to build it, bytes of keys and values (`bytes`) and of the index, lists and lists searched.
    """

    keys: NDArray[np.float16]
    values: NDArray[np.int32]
    index: Any
    record: Mapping[str, Any]

    def search(self, queries: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
        """Squared distances, nearest first, and values of each query's neighbours; both (queries, neighbours).

        queries: (queries, d_model). Where fewer are found, the distances are infinite.
        """
        _faiss().omp_set_num_threads(torch.get_num_threads())
        asked = np.ascontiguousarray(queries.float().cpu().numpy())
        distances, entries = self.index.search(asked, min(neighbours, len(self.values)))
        distances[entries < 0] = np.inf
        values = self.values[entries].astype(np.int64)
        return torch.from_numpy(distances).to(queries.device), torch.from_numpy(values).to(queries.device)

    def recall(self, queries: Tensor, neighbours: int) -> float:
        """The share of the queries' nearest keys that `search` finds: every key is compared for it."""
        neighbours = min(neighbours, len(self.values))
        asked, found = queries.float().cpu(), torch.empty(len(queries), 0)
        for first in range(0, len(self.keys), _TOGETHER):
            keys = torch.from_numpy(self.keys[first : first + _TOGETHER].astype(np.float32))
            distances = asked.square().sum(1)[:, None] - 2 * asked @ keys.T + keys.square().sum(1)
            found = torch.cat([found, distances], 1)
            found = found.topk(min(neighbours, found.shape[1]), largest=False, sorted=True).values
        # Compared by distance, of which rounding changes some of the last digits: equal keys are many.
        farthest = found[:, -1:] * (1 + 1e-3) + 1e-3
        return float((self.search(asked, neighbours)[0] <= farthest).float().mean())


def datastore(
    model: Any, tokenizer: Any, base: Path, pairs: Sequence[Pair], languages: LanguagePair, folder: Path
) -> Datastore:
    """The datastore of these pairs, from `folder` if it was built of the same before.

    `model`: of the folder `base`. Pairs that it has no positions for are left out.

    Raises:
        FmallocError: FAISS is missing, or no pair is short enough.
    """
    _faiss()
    made_from = {
        "format": _FORMAT,
        "base": [sha256(path) for path in weight_files(base)],
        "pairs": digest(pairs),
        "languages": list(languages),
    }
    path = folder / _RECORD
    record = json.loads(path.read_text()) if path.exists() else {}
    if record.pop("made_from", None) != made_from:
        folder.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        began = time.perf_counter()
        entries = _write_entries(model, tokenizer, pairs, languages, folder)
        record = {**entries, **_write_index(folder), "seconds": time.perf_counter() - began}
        write_atomically(path, json.dumps({**record, "made_from": made_from}).encode())
    keys, values = (np.load(folder / name, mmap_mode="r") for name in (_KEYS, _VALUES))
    index = _faiss().read_index(str(folder / _INDEX))
    index.nprobe = record["searched_lists"]
    return Datastore(keys, values, index, record)


@contextmanager
def decoder_states(model: Any) -> Iterator[Callable[[int], Tensor]]:
    """While it lasts, `states(dimensions)` gives what the last decoder layer's feed-forward block was given last.

    Of the shape (batch, tokens, d_model) for 3 dimensions, after teacher forcing; for 2, while a search runs, that of
    the last token, (hypotheses, d_model).
    """
    layer, given = feed_forward_layers(model)[-1], list[Tensor]()

    def note(_fc1: Any, inputs: tuple[Tensor, ...]) -> None:
        given[:] = inputs

    def states(dimensions: int) -> Tensor:
        (found,) = given
        return found[:, -1] if dimensions == 2 else layer.batch_first(found)

    hook = layer.module.fc1.register_forward_pre_hook(note)
    try:
        yield states
    finally:
        hook.remove()


@torch.inference_mode()
def teacher_forced(model: Any, batches: Sequence[Batch]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Of each batch the target tokens (tokens,), the states before them (tokens, d_model) and logits of all tokens."""
    with decoder_states(model) as states:
        for batch in batches:
            moved = batch.on(model.device, model.config)
            scores = moved.of_tokens(logits(model, moved))
            yield moved.of_tokens(moved.target), moved.of_tokens(states(3)), scores


def batches_of(
    model: Any, tokenizer: Any, pairs: Sequence[Pair], languages: LanguagePair, batch_tokens: int = _BATCH_TOKENS
) -> list[Batch]:
    """Pairs that the model has positions for, by length.

    Raises:
        FmallocError: there is none.
    """
    longest = int(model.config.max_position_embeddings) - 2
    examples = encode(tokenizer, pairs, languages, maximum_length=longest).examples
    if not examples:
        raise FmallocError(
            f"none of {len(pairs):,} pairs has at most {longest} tokens, for which the base has positions"
        )
    return list(ordered_batches(examples, batch_tokens, tokenizer.pad_token_id))


def _write_entries(
    model: Any, tokenizer: Any, pairs: Sequence[Pair], languages: LanguagePair, folder: Path
) -> dict[str, Any]:
    batches = batches_of(model, tokenizer, pairs, languages)
    tokens, width = sum(batch.target_tokens for batch in batches), int(model.config.d_model)
    keys = np.lib.format.open_memmap(folder / _KEYS, "w+", np.float16, (tokens, width))
    values = np.lib.format.open_memmap(folder / _VALUES, "w+", np.int32, (tokens,))
    first = 0
    with bar("datastore", tokens) as advance:
        for target, states, _ in teacher_forced(model, batches):
            last = first + len(target)
            keys[first:last], values[first:last] = states.half().cpu().numpy(), target.cpu().numpy()
            advance(len(target))
            first = last
    keys.flush()
    values.flush()
    kept = sum(len(batch.target) for batch in batches)
    return {"pairs": kept, "entries": tokens, "bytes": keys.nbytes + values.nbytes}


def _write_index(folder: Path) -> dict[str, Any]:
    faiss, keys = _faiss(), np.load(folder / _KEYS, mmap_mode="r")
    faiss.omp_set_num_threads(torch.get_num_threads())
    lists = min(_MOST_LISTS, max(1, len(keys) // _PER_LIST))
    index = faiss.index_factory(keys.shape[1], f"IVF{lists},SQfp16")
    index.cp.min_points_per_centroid = 1  # a datastore of a few sentences has fewer than it would like
    most = lists * index.cp.max_points_per_centroid
    index.train(keys[:: max(1, len(keys) // most)].astype(np.float32))
    with bar("index", len(keys)) as advance:
        for first in range(0, len(keys), _TOGETHER):
            part = keys[first : first + _TOGETHER].astype(np.float32)
            index.add(part)
            advance(len(part))
    faiss.write_index(index, str(folder / _INDEX))
    size = (folder / _INDEX).stat().st_size
    return {"index_bytes": size, "lists": lists, "searched_lists": min(lists, _SEARCHED)}


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise FmallocError(
            "nearest neighbours are searched by FAISS, which is missing: pip install faiss-cpu"
        ) from error
    return faiss
