"""Moses words and byte pairs without transformers."""

import json
import sys
from pathlib import Path

import pytest
from transformers import FSMTTokenizer

from fmalloc_runtime.tokenizer.moses import Moses, MosesModel
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer, TokenizerConfig
from fmalloc_shared.errors import FmallocError
from tests.support.bases import write_fsmt
from tests.support.tiny_pieces import PAIRS


def write(directory: Path, *, lower_case: bool = False) -> FSMTTokenizer:
    """transformers' tokenizer, and beside it the folder of a bundle."""
    write_fsmt(directory / "base")
    files = [str(directory / "base" / name) for name in ("vocab-src.json", "vocab-tgt.json", "merges.txt")]
    tokenizer = FSMTTokenizer(["de", "en"], *files, do_lower_case=lower_case)
    merges = tuple((directory / "base" / "merges.txt").read_text().splitlines())
    for name, language in (("source.json", "de"), ("target.json", "en")):
        model = MosesModel(language=language, lower_case=lower_case, merges=merges)
        (directory / name).write_bytes(model.to_bytes())
    config = TokenizerConfig(
        kind="moses",
        source_model="source.json",
        target_model="target.json",
        source_prefix=(),
        source_suffix=("</s>",),
        target_prefix=(),
        special_tokens=("<s>", "<pad>", "</s>", "<unk>"),
    )
    (directory / "tokenizer.json").write_bytes(config.to_bytes())
    return tokenizer


@pytest.mark.parametrize("lower_case", [False, True])
def test_words_and_pieces_are_those_of_transformers(tmp_path: Path, lower_case: bool) -> None:
    expected = write(tmp_path, lower_case=lower_case)
    found = Tokenizer.load(tmp_path)
    texts = [
        *(text for pair in PAIRS for text in pair),
        "„Der Bote“, z.B. am 3. Mai: 1.234,5 €/kg – o. k.?",
        "x\u0007y",
    ]
    for text in texts:
        assert found.encode(text) == [*expected.tokenize(text), "</s>"]
        assert found.decode(found.encode(text)) == expected.convert_tokens_to_string(expected.tokenize(text))
    assert found.encode("bringt")[:-1] == ["br", "in", "gt</w>"]
    assert found.decode(["it</w>", "isn</w>", "&apos;t</w>", ",</w>", "5</w>", "%</w>", "</s>"]) == "it isn't, 5%"


def test_only_what_is_dropped_counts_as_unknown(tmp_path: Path) -> None:
    write(tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    assert all(map(tokenizer.knows, ["bringt", "„", "&", "…", "Москва", "😀"]))
    assert not tokenizer.knows("\ue000")


@pytest.mark.parametrize("text", ["</s>", "a </s> b", "<pad>", "<unk>"])
def test_text_never_becomes_a_special_token(tmp_path: Path, text: str) -> None:
    write(tmp_path)
    assert not set(Tokenizer.load(tmp_path).encode(text)[:-1]) & {"<s>", "<pad>", "</s>", "<unk>"}


def test_a_missing_library_is_named_with_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    with pytest.raises(FmallocError, match=r"source.json: .* needs sacremoses: pip install 'fmalloc\[moses\]'"):
        Tokenizer.load(tmp_path)


def test_model_files_are_read_strictly(tmp_path: Path) -> None:
    write(tmp_path)
    content = json.loads((tmp_path / "source.json").read_text())
    (tmp_path / "source.json").write_text(json.dumps(content | {"merges": [1]}))
    with pytest.raises(FmallocError, match=r"source.json: merges.0: Input should be a valid string, found 1"):
        Moses(tmp_path / "source.json", tmp_path / "target.json")
    (tmp_path / "source.json").unlink()
    with pytest.raises(FmallocError, match=r"source.json: cannot be read"):
        Moses(tmp_path / "source.json", tmp_path / "target.json")
