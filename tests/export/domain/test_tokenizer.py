"""A bundle's tokenizer folder reads and writes text as transformers' tokenizer of the base does."""

import json
from pathlib import Path

import pytest

from fmalloc.model.text.tokens import target_frame, target_ids
from fmalloc_export.domain.tokenizer import check_tokenizer, write_tokenizer
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair
from tests.support.compiled import compile_domain
from tests.support.stores import BASES, VARIANTS, write_store

TEXTS = (
    "Der Bote, 2-mal: ÄÖÜ ß!",
    "  zwei  Leerzeichen ",
    "漢字 und 😀",
    "x",
    "Am 3.10.2021 kosteten 1.234,5 kg „Äpfel“ ‚nur‘ 99 % – oder?",
    "Siehe https://example.org/a?b=c&d=e_f#g (bzw. info@example.org).",
    "\"Don't\" it's — «oui» 5'10\" … <b>fett</b> a/b [1] {2} @-@ | &amp; #hash $5 €7",
    "ＡＢＣ１２３ ﬁ e\u0301 \u00a0 \u200b \t Tab\nZeile",
    "hello , world . in the morning",
    ">>fra<< gehört zum Text, >>eng<< auch",
    " ",
)
# Source prefix, source suffix, target prefix.
AROUND: dict[str, tuple[list[str], list[str], list[str]]] = {
    "m2m100": (["__de__"], ["</s>"], ["__en__"]),
    "marian-targets": ([">>eng<<"], ["</s>"], []),
    "nllb-legacy": ([], ["</s>", "deu_Latn"], ["eng_Latn"]),
    "nllb": (["deu_Latn"], ["</s>"], ["eng_Latn"]),
    "bart": (["<s>"], ["</s>"], ["<s>"]),
    "mbart": ([], ["</s>", "de_DE"], []),
    "mbart50": (["de_DE"], ["</s>"], ["en_XX"]),
}


@pytest.mark.parametrize("kind", sorted(BASES | VARIANTS))
def test_the_bundled_tokenizer_reads_and_writes_as_the_models_own(kind: str, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", kind)
    compiled = compile_domain(store, "it")
    found = compiled.domain.write_tokenizer(tmp_path / "tokenizer")
    tokenizer, vocabulary = compiled.domain.tokenizer, compiled.domain.vocabulary
    texts = [*TEXTS, *(text for pair in store.samples("it") for text in pair)]
    check_tokenizer(found, tokenizer, vocabulary, texts)
    skipped = len(target_frame(tokenizer).prefix)
    for ids in target_ids(tokenizer, texts):
        expected = tokenizer.batch_decode([ids[skipped:]], skip_special_tokens=True)[0].strip()
        assert found.decode([vocabulary.target[index] for index in ids]) == expected
    described = json.loads((tmp_path / "tokenizer" / "tokenizer.json").read_text())
    around = [described[key] for key in ("source_prefix", "source_suffix", "target_prefix")]
    assert tuple(around) == AROUND.get(kind, ([], ["</s>"], []))


@pytest.mark.parametrize("kind", ["marian", "bart", "fsmt"])
def test_the_folder_is_the_same_whatever_was_read_before(kind: str, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", kind)
    contents = []
    for name in ("first", "second"):
        compiled = compile_domain(store, "it")
        if name == "second":
            compiled.domain.tokenizer(["der bote", "x"], padding=True, truncation=True, max_length=3)
        compiled.domain.write_tokenizer(tmp_path / name)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]


def test_a_tokenizer_that_reads_otherwise_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    compiled = compile_domain(store, "it")
    base = tmp_path / "base"
    base.mkdir()
    for name, other in (("source.spm", "target.spm"), ("target.spm", "source.spm")):
        (base / name).write_bytes((store.base / other).read_bytes())
    (tmp_path / "out").mkdir()
    arguments = (
        compiled.domain.tokenizer,
        compiled.domain.vocabulary,
        "marian",
        LanguagePair("de", "en"),
        tmp_path / "out",
    )
    swapped = write_tokenizer(base, *arguments)
    with pytest.raises(FmallocError, match="the bundle's tokenizer reads 'der bote bringt .*' as ▁"):
        check_tokenizer(
            swapped,
            compiled.domain.tokenizer,
            compiled.domain.vocabulary,
            [pair.source for pair in store.samples("it")],
        )
    (base / "target.spm").unlink()
    with pytest.raises(FmallocError, match=r"target.spm: missing"):
        write_tokenizer(base, *arguments)
