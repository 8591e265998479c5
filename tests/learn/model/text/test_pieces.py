"""The fast way to token ids gives those of the tokenizer, for every family and any text."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmalloc.model.architectures import load_tokenizer
from fmalloc.model.text.pieces import Ids, Pieces, Side, identity
from fmalloc.model.text.tokens import set_languages
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES
from tests.support.tiny_pieces import PAIRS

FAST = {"marian", "marian-targets", "marian-separate", "marian-larger", "m2m100"}
ODD = [
    "",
    " ",
    "  zwei  leerzeichen  ",
    "</s>",
    "der <unk> bote </s>",
    "<pad>der bote<pad>",
    "der bote</s>bringt",
    "</s >< /s>",
    ">>eng<< der bote",
    ">>fra<<",
    ">> der bote <<",
    "__en__ der bote __de__",
    "eng_Latn der bote",
    "<s>der bote",
    "▁der▁bote",
    "漢字 und 🦊 der bote",
    "der\tbote\nbringt\r\n",
    "\x00\x01\x7f der \x85 bote",
    "ﬁx ① Ａ ½",
    "e\u0301 \u200d \u200b \ufeff \u00ad",
    "der bote " * 2000,
    "x" * 20000,
    "\U0010ffff \ufffd \ufdd0",
]
TOKENS = [
    "</s>",
    "<unk>",
    "<pad>",
    "<s>",
    ">>eng<<",
    "__en__",
    "deu_Latn",
    "en_XX",
    "▁",
    " ",
    "der",
    "bote",
    "漢",
    "\n",
]


@pytest.fixture(scope="module", params=sorted(BASES))
def sides(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Side]]:
    write, _, codes = BASES[request.param]
    folder = tmp_path_factory.mktemp("base") / "base"
    write(folder)
    tokenizer = load_tokenizer(folder)
    set_languages(tokenizer, LanguagePair(*codes))
    return request.param, [Side(tokenizer, target=target, many=True) for target in (False, True)]


def same(side: Side, texts: Sequence[str]) -> bool:
    found, expected = side.ids(texts), Ids.of(side._lists(texts))
    return found.ids.tolist() == expected.ids.tolist() and found.sizes.tolist() == expected.sizes.tolist()


def test_odd_texts_have_the_same_ids(sides: tuple[str, list[Side]]) -> None:
    for side in sides[1]:
        assert same(side, ODD)
        for text in ODD:
            assert same(side, [text])
        assert same(side, [])


def test_the_fast_way_is_taken_where_it_exists(sides: tuple[str, list[Side]]) -> None:
    name, found = sides
    for side in found:
        side.ids([pair.source for pair in PAIRS])
        assert (side._pieces is not None) == (name in FAST)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
            st.lists(st.sampled_from(TOKENS), max_size=8).map("".join),
            st.sampled_from([pair.source for pair in PAIRS]),
        ),
        max_size=12,
    )
)
def test_any_text_has_the_same_ids(sides: tuple[str, list[Side]], texts: list[str]) -> None:
    for side in sides[1]:
        assert same(side, texts)


def test_a_fast_way_that_differs_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    BASES["marian"][0](tmp_path / "base")
    tokenizer = load_tokenizer(tmp_path / "base")
    side, texts = Side(tokenizer, target=False, many=True), [pair.source for pair in PAIRS]
    assert side._pieces is not None
    monkeypatch.setattr(side._pieces, "_table", side._pieces._table + 1)
    assert same(side, texts)
    assert side._pieces is None


def test_sampled_pieces_are_left_to_the_tokenizer(tmp_path: Path) -> None:
    BASES["marian"][0](tmp_path / "base")
    tokenizer = load_tokenizer(tmp_path / "base")
    tokenizer.sp_model_kwargs = {"enable_sampling": True}
    assert Pieces.of(tokenizer, lambda _texts: [], target=False) is None


def test_a_tokenizer_is_known_by_what_it_does(tmp_path: Path) -> None:
    for name in ("a", "b"):
        BASES["marian"][0](tmp_path / name)
    first, second = (identity(load_tokenizer(tmp_path / name)) for name in ("a", "b"))
    assert first == second
    vocabulary = tmp_path / "b" / "vocab.json"
    ids = json.loads(vocabulary.read_text())
    first_piece, second_piece = list(ids)[10:12]
    swapped = {first_piece: ids[second_piece], second_piece: ids[first_piece]}
    vocabulary.write_text(json.dumps(ids | swapped))
    assert identity(load_tokenizer(tmp_path / "b")) != first
