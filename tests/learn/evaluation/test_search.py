"""The search gives the tokens of transformers' own."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from fmalloc.evaluation import search as search_module
from fmalloc.evaluation.search import Search, unwritten
from fmalloc.model.architectures import load_base
from fmalloc.model.decoding import Decoding
from fmalloc.model.text.tokens import set_languages, target_frame
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES, CORE_BASES, PAIRS, VARIANTS
from tests.support.bases import POSITIONS as RANDOM_POSITIONS
from tests.support.corpora import POSITIONS, sentences

_LONGEST = 40


def generated(model: Any, tokenizer: Any, sources: Sequence[Sequence[int]], size: int, **options: Any) -> list[Any]:
    """What transformers' `generate` writes, up to the end token."""
    batch = tokenizer.pad({"input_ids": [list(source) for source in sources]}, return_tensors="pt")
    prefix, end = target_frame(tokenizer).prefix, model.config.eos_token_id
    found = model.generate(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        num_beams=size,
        do_sample=False,
        early_stopping=True if size > 1 else None,
        length_penalty=1.0 if size > 1 else None,
        max_new_tokens=_LONGEST,
        renormalize_logits=True,
        forced_bos_token_id=prefix[0] if prefix else None,
        **options,
    )
    rows = [row[1 + len(prefix) :] for row in found.tolist()]
    return [row[: row.index(end) + 1] if end in row else row[: _LONGEST - len(prefix)] for row in rows]


def searched(model: Any, tokenizer: Any, sources: Sequence[Sequence[int]], size: int, shortest: int = 0) -> list[Any]:
    prompt = (model.config.decoder_start_token_id, *target_frame(tokenizer).prefix)
    return Search(size, prompt, _LONGEST, shortest, unwritten(model)).run(model, sources)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("kind", [*BASES, *VARIANTS])
def test_every_family_writes_the_tokens_of_transformers(kind: str, size: int, tmp_path: Path) -> None:
    write_base, _, pair = (BASES | VARIANTS)[kind]
    write_base(tmp_path / "base")
    model, tokenizer = load_base(tmp_path / "base", LanguagePair(*pair))
    set_languages(tokenizer, LanguagePair(*pair))
    texts = [side for pair in PAIRS for side in (pair.source, pair.source.split()[0], f"{pair.source} {pair.source}")]
    sources = tokenizer(texts, truncation=True, max_length=RANDOM_POSITIONS - 2)["input_ids"]
    expected = generated(model, tokenizer, sources, size)
    assert searched(model, tokenizer, sources, size) == expected


@pytest.mark.parametrize("size", [1, 2, 4])
def test_sentences_leave_when_they_have_ended(base: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load_base(base)
    texts = [" ".join([pair[0]] * (1 + index % 3)) for index, pair in enumerate(sentences("general")[:30])]
    sources = tokenizer(texts, truncation=True, max_length=POSITIONS - 2)["input_ids"]
    kept: list[int] = []
    keep = Decoding.keep
    monkeypatch.setattr(Decoding, "keep", lambda self, rows: (kept.append(len(rows)), keep(self, rows)))
    expected = generated(model, tokenizer, sources, size)
    assert searched(model, tokenizer, sources, size) == expected
    assert len(kept) > 1
    assert len({len(output) for output in expected}) > 2


def test_batches_of_any_size_write_the_same(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load_base(base)
    sources = tokenizer([source for source, _ in sentences("general")[:20]])["input_ids"]
    together = searched(model, tokenizer, sources, 4)
    monkeypatch.setattr(search_module, "_CPU_BYTES", 1)
    done: list[int] = []
    prompt = (model.config.decoder_start_token_id,)
    assert Search(4, prompt, _LONGEST, forbidden=unwritten(model)).run(model, sources, done.append) == together
    assert done == [1] * len(sources)
    assert Search(4, prompt, _LONGEST).run(model, []) == []


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("kind", CORE_BASES)
def test_forbidden_tokens_and_early_ends_are_never_written(kind: str, size: int, tmp_path: Path) -> None:
    write_base, _, pair = BASES[kind]
    write_base(tmp_path / "base")
    model, tokenizer = load_base(tmp_path / "base", LanguagePair(*pair))
    set_languages(tokenizer, LanguagePair(*pair))
    sources = tokenizer([pair.source for pair in PAIRS])["input_ids"]
    free = searched(model, tokenizer, sources, size)
    banned = Counter(token for output in free for token in output if token != model.config.eos_token_id).most_common(5)
    words = [token for token, _ in banned]
    options = {"bad_words_ids": [[word] for word in words], "min_new_tokens": 6}
    prompt = (model.config.decoder_start_token_id, *target_frame(tokenizer).prefix)
    search = Search(size, prompt, _LONGEST, shortest=6, forbidden=torch.tensor(words))
    found = search.run(model, sources)
    if unwritten(model) is None:
        assert found == generated(model, tokenizer, sources, size, **options)
    assert not {*words} & {token for output in found for token in output}
    assert min(map(len, found)) >= 7 - len(prompt)
