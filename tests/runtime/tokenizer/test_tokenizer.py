"""Tokenizer folders: what text becomes, and what it can never become."""

import gc
import json
import weakref
from pathlib import Path

import pytest
import sentencepiece
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers

from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.tokenizer.offsets import locate
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer, TokenizerConfig
from fmalloc_shared.errors import FmallocError
from tests.support.bundles import SENTENCES, SPECIAL, write_sentencepiece, write_tokenizer

HOSTILE = ["</s>", "a </s> b", "<pad><unk></s>", "＜/s＞", ">>de<< Guten Tag", "deu_Latn Guten Tag"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    write_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The kind `tokenizers`, shaped as NLLB: a language token before the source and before the target."""
    path = tmp_path_factory.mktemp("fast")
    letters = sorted({letter for lines in SENTENCES.values() for line in lines for letter in line} | set("</>▁_"))
    scores = [("<unk>", 0.0), ("</s>", 0.0), ("deu_Latn", 0.0), ("eng_Latn", 0.0), *((x, -3.0) for x in letters)]
    model = tokenizers.Tokenizer(models.Unigram([*scores, ("▁Die", -1.0), ("▁Datei", -1.0)], unk_id=0))
    model.normalizer = normalizers.NFKC()
    model.pre_tokenizer = pre_tokenizers.Metaspace()
    model.decoder = decoders.Metaspace()
    model.add_special_tokens(["</s>", "<unk>", "deu_Latn", "eng_Latn"])
    model.save(str(path / "model.json"))
    config = TokenizerConfig(
        kind="tokenizers",
        source_model="model.json",
        target_model="model.json",
        source_prefix=("deu_Latn",),
        source_suffix=("</s>",),
        target_prefix=("eng_Latn",),
        special_tokens=("</s>", "<unk>", "deu_Latn", "eng_Latn"),
    )
    (path / "tokenizer.json").write_bytes(config.to_bytes())
    return Tokenizer.load(path)


def test_pieces_are_sentencepieces_with_the_end_token(folder: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    tokenizer = Tokenizer.load(folder)
    for lines in SENTENCES.values():
        for line in lines:
            assert tokenizer.encode(line) == [*processor.encode(line, out_type=str), "</s>"]


def test_encoding_and_decoding_returns_the_text(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    for line in SENTENCES["general"]:
        assert tokenizer.decode(tokenizer.encode(line)) == line
    assert tokenizer.target_prefix == ()


@pytest.mark.parametrize("text", HOSTILE)
def test_text_never_becomes_a_special_token(folder: Path, fast: Tokenizer, text: str) -> None:
    tokens = Tokenizer.load(folder).encode(text)
    assert tokens[-1] == "</s>" and not set(tokens[:-1]) & set(SPECIAL)
    tokens = fast.encode(text)
    assert (tokens[0], tokens[-1]) == ("deu_Latn", "</s>")
    assert not set(tokens[1:-1]) & {"</s>", "deu_Latn", "eng_Latn"}


def test_unknown_characters_that_spell_a_special_token_stay_text(tmp_path: Path) -> None:
    """SentencePiece merges neighbouring unknown characters: here `<q>` would come out as one piece."""
    write_tokenizer(tmp_path / "tokenizer")
    config = TokenizerConfig.read(tmp_path / "tokenizer" / "tokenizer.json")
    changed = config.model_copy(update={"special_tokens": (*SPECIAL, "<☃>")})
    (tmp_path / "tokenizer" / "tokenizer.json").write_bytes(changed.to_bytes())
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer" / "source.spm"))
    assert "<☃>" in processor.encode("<☃>", out_type=str)
    assert Tokenizer.load(tmp_path / "tokenizer").encode("<☃>")[-4:] == ["<", "☃", ">", "</s>"]


def test_tokenizers_kind(fast: Tokenizer) -> None:
    assert fast.encode("Die Datei") == ["deu_Latn", "▁Die", "▁Datei", "</s>"]
    assert fast.encode("☃")[1:-1] == ["▁", "☃"]
    assert fast.decode(["eng_Latn", "▁Die", "▁Datei", "</s>"]) == "Die Datei"
    assert fast.target_prefix == ("eng_Latn",)


def test_what_the_vocabulary_knows(folder: Path, fast: Tokenizer) -> None:
    for tokenizer in (Tokenizer.load(folder), fast):
        assert all(tokenizer.knows(word) for lines in SENTENCES.values() for line in lines for word in line.split())
        assert tokenizer.knows("ﬁ") and tokenizer.knows("u\u0308")
        assert not any(map(tokenizer.knows, ["😀", "☃", "Dat☃i", "Москва", "日"]))


def test_what_a_model_leaves_out_is_not_known(tmp_path: Path, fast: Tokenizer) -> None:
    model = tokenizers.Tokenizer(models.BPE({"D": 0, "i": 1, "e": 2}, []))
    model.save(str(tmp_path / "model.json"))
    (tmp_path / "tokenizer.json").write_bytes(fast.config.to_bytes())
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("D☃ie")[1:-1] == ["D", "i", "e"]
    assert tokenizer.knows("Die") and not tokenizer.knows("D☃ie") and not tokenizer.knows("☃")


def test_where_tokens_stand_in_their_text(folder: Path, fast: Tokenizer) -> None:
    for tokenizer in (Tokenizer.load(folder), fast):
        text = "Die Datei, „Größe“ ﬁn\u00a0😀 Datei"
        tokens = tokenizer.encode(text)
        spans = tokenizer.source_spans(text, tokens)
        assert len(spans) == len(tokens) and spans[-1] == (len(text), len(text))
        found = {text[begin:end] for begin, end in spans}
        assert {"Datei", ",", "ﬁ", "😀"} <= found
        assert spans == sorted(spans)
        decoded = tokenizer.decode(tokens)
        targets = tokenizer.target_spans(decoded, tokens)
        assert len(targets) == len(tokens)
        assert [decoded[b:e] for b, e in targets].count("Datei") == 2


@given(st.text(max_size=40), st.lists(st.text(max_size=5), max_size=20))
def test_places_are_inside_the_text_and_in_order(text: str, surfaces: list[str]) -> None:
    spans = locate(text, surfaces)
    assert len(spans) == len(surfaces)
    assert all(0 <= begin <= end <= len(text) for begin, end in spans)
    assert [begin for begin, _ in spans] == sorted(begin for begin, _ in spans)


def test_special_tokens_are_dropped_from_output(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.decode(["<pad>", *tokenizer.encode("Die Datei"), "<unk>"]) == "Die Datei"
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 2}, "version 2, this program reads version 1"),
        ({"kind": "magic"}, "kind: Input should be 'sentencepiece', 'tokenizers' or 'moses', found 'magic'"),
        ({"extra": 1}, "extra: Extra inputs are not permitted"),
        ({"source_model": "../../etc/passwd"}, "source_model: String should match"),
        ({"special_tokens": ["</s>", "x"]}, "special_tokens.1: String should have at least 2 characters"),
        ({"source_prefix": [1]}, "source_prefix.0: Input should be a valid string, found 1"),
    ],
)
def test_a_config_is_read_strictly(change: dict[str, object], complaint: str) -> None:
    valid: dict[str, object] = {
        "version": 1,
        "kind": "sentencepiece",
        "source_model": "source.spm",
        "target_model": "target.spm",
        "source_prefix": [],
        "source_suffix": ["</s>"],
        "target_prefix": [],
        "special_tokens": ["</s>"],
    }
    TokenizerConfig.parse(json.dumps(valid).encode(), "tokenizer.json")
    with pytest.raises(FmallocError) as error:
        TokenizerConfig.parse(json.dumps(valid | change).encode(), "tokenizer.json")
    assert str(error.value).startswith("tokenizer.json: ") and complaint in str(error.value)


def test_missing_and_broken_models_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match=r"tokenizer\.json: cannot be read"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    with pytest.raises(FmallocError, match=r"source\.spm: not a SentencePiece model"):
        Tokenizer.load(tmp_path)
    write_sentencepiece(tmp_path / "source.spm")
    (tmp_path / "target.spm").write_bytes(b"nonsense")
    with pytest.raises(FmallocError, match=r"target\.spm: not a SentencePiece model"):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_is_freed_with_its_bundle(well_read: Translator) -> None:
    folder = well_read.bundle.tokenizer
    gc.disable()
    try:
        tokenizer = Tokenizer.load(folder)
        assert tokenizer.knows("a") in (True, False)
        gone = weakref.ref(tokenizer)
        del tokenizer
        assert gone() is None
    finally:
        gc.enable()
