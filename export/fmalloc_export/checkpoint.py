"""`fmalloc export --format transformers`: a domain as a checkpoint that transformers loads by itself.

The widths are those of the base: cells that the domain leaves off are zero, so that stock code computes with all of
them. Private parameters are folded in. Before it appears, it is loaded as anybody would, and has to write the same
tokens.
"""

import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fmalloc.evaluation.evaluate import MAXIMUM_NEW_TOKENS, translate
from fmalloc.model.architectures import FAMILIES, base_bytes, feed_forward_layers, quiet
from fmalloc.model.assembly import load_dense, load_masked
from fmalloc.model.text.tokens import is_multilingual, set_languages, target_frame, target_mark
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.store import Store
from fmalloc_export.bundles.publish import staging, writing
from fmalloc_shared.commands.command import needs
from fmalloc_shared.commands.outputs import check_folder
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sync_directory, sync_tree

_BEAM = 4
# Pairs of the domain that are translated by both; without any, these.
_COMPARED = 20
_SOURCES = ("a", "b c", "d.")
_OWN_FILES = ("config.json", "generation_config.json")


def export_checkpoints(path: Path, tasks: Sequence[str], output_dir: Path, *, force: bool) -> None:
    """Write a folder per task (all, and general, if none is given) into `output_dir`; `force` replaces what is there.

    Raises FmallocError, and writes none of it, if the store is damaged, or if stock code cannot compute a task's model.
    """
    store = Store.open(path)
    names = {domain_of(task): task for task in store.chosen(tasks)}
    for name in names:
        if (output_dir / name).exists() and not force:
            raise FmallocError(f"{output_dir / name}: exists already; --force writes over it")
    if FAMILIES[store.description.family].moses:
        needs("sacremoses", extra="moses")
    check_folder(output_dir, room=base_bytes(store.base) * len(names))
    store.verify()
    with writing(output_dir):
        for name, task in names.items():
            with staging(output_dir) as work:
                folder = work / name
                _write(store, task, folder)
                compared = _compare(store, task, folder)
                sync_tree(folder)
                if (output_dir / name).exists():
                    (output_dir / name).rename(work / "replaced")
                folder.rename(output_dir / name)
                sync_directory(output_dir)
            console.print(f"{output_dir / name}: {compared} translations have the same tokens", markup=False)


def _write(store: Store, name: str, folder: Path) -> None:
    model, tokenizer = load_dense(store, name)
    mask = store.mask(name)
    for layer in feed_forward_layers(model):
        off = ~torch.from_numpy(mask[layer.name])
        with torch.no_grad():
            layer.module.fc1.weight[off] = 0
            layer.module.fc1.bias[off] = 0
            layer.module.fc2.weight[:, off] = 0
    family = store.description.family
    frame, config = target_frame(tokenizer), model.config
    if family == "fsmt":
        # A bias that keeps padding from being written, for which stock code has no place.
        for holder in (model, model.model.decoder):
            for projection in ("lm_head", "output_projection"):
                if hasattr(holder, projection):
                    getattr(holder, projection).register_buffer("bias", None)
        del model.lm_head
        model.generation_config.bad_words_ids = [[config.pad_token_id]]
    limit = min(MAXIMUM_NEW_TOKENS, config.max_position_embeddings - 2)
    model.generation_config.update(
        num_beams=_BEAM,
        early_stopping=True,
        length_penalty=1.0,
        renormalize_logits=True,
        max_new_tokens=limit,
        max_length=None,
        forced_bos_token_id=frame.prefix[0] if frame.prefix else None,
    )
    folder.mkdir()
    for file in sorted(store.base.iterdir()):
        if file.suffix != ".safetensors" and file.name not in _OWN_FILES and not file.name.endswith(".index.json"):
            shutil.copyfile(file, folder / file.name)
    if is_multilingual(tokenizer):
        stated = folder / "tokenizer_config.json"
        content = json.loads(stated.read_text(encoding="utf-8")) if stated.exists() else {}
        content |= {"src_lang": tokenizer.src_lang, "tgt_lang": tokenizer.tgt_lang}
        stated.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
    config.use_cache = family != "fsmt"
    with quiet():
        model.save_pretrained(folder)


def _compare(store: Store, name: str, folder: Path) -> int:
    """Load the checkpoint with nothing but transformers, and compare translations; returns how many."""
    reference, tokenizer = load_masked(store, name)
    languages = store.description.languages
    set_languages(tokenizer, languages)
    mark = target_mark(tokenizer, languages)
    with _stock(folder, store.description.family) as (model, stock):
        sources = [pair.source for pair in store.samples(name)[:_COMPARED]] or list(_SOURCES)
        expected = translate(reference, tokenizer, sources, languages, beam_size=_BEAM).tokens
        start = 1 + len(target_frame(tokenizer).prefix)
        longest = model.config.max_position_embeddings - 2
        for source, tokens in zip(sources, expected, strict=True):
            text = f"{mark} {source}" if mark else source
            inputs = stock(text, return_tensors="pt", truncation=True, max_length=longest)
            with torch.inference_mode():
                found = model.generate(**inputs)[0].tolist()[start:]
            end = model.config.eos_token_id
            found = found[: found.index(end) + 1] if end in found else found
            if found != tokens:
                raise FmallocError(
                    f"{name}: stock transformers writes other tokens for {source[:80]!r}: {found[:20]}, not "
                    f"{tokens[:20]}; nothing was written. The family {store.description.family} cannot leave like "
                    "this; `fmalloc export` compiles it for CTranslate2 and ONNX"
                )
    if mark:
        console.print(f"{name}: stock code is told the language by the text: write {mark} before every source")
    return len(sources)


@contextmanager
def _stock(folder: Path, family: str) -> Iterator[tuple[Any, Any]]:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, info = AutoModelForSeq2SeqLM.from_pretrained(folder, local_files_only=True, output_loading_info=True)
        if lost := sorted([*info["unexpected_keys"], *info["missing_keys"]]):
            raise FmallocError(
                f"{folder.name}: transformers' {family} has no place for {', '.join(lost[:3])}, which this domain has: "
                "it cannot leave as a plain checkpoint; learning.private without `output` can"
            )
        yield model.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)
