"""Beam search against a search that looks at everything."""

import itertools

import numpy as np
import pytest

from fmalloc_runtime.engines.beam import BeamOutput, BeamSearch, best

END, VOCABULARY, START = 0, 5, 7


class Table:
    """A decoder whose logits depend on the sentence and on the last two tokens."""

    def __init__(self, sentences: int, seed: int = 0) -> None:
        self.logits = np.random.default_rng(seed).normal(size=(sentences, 8, 8, VOCABULARY)).astype(np.float32) * 2
        self.sentence = np.arange(sentences)
        self.before = np.zeros(sentences, dtype=np.int64)
        self.steps: list[int] = []

    def advance(self, ids: np.ndarray) -> np.ndarray:
        self.steps.append(len(ids))
        self.sentence = np.repeat(self.sentence, len(ids) // len(self.sentence))
        before = ids[:, -2] if ids.shape[1] > 1 else self.before
        logits = self.logits[self.sentence, before, ids[:, -1]]
        self.before = ids[:, -1].copy()
        return np.repeat(logits[:, None], ids.shape[1], axis=1)

    def select(self, rows: np.ndarray, sentences: np.ndarray | None) -> None:
        del sentences
        self.before, self.sentence = self.before[rows], self.sentence[rows]

    def attention(self, row: int) -> None:
        del row

    def score(self, sentence: int, ids: tuple[int, ...]) -> float:
        """Log-probability of ids behind the start token."""
        total, before, last = 0.0, 0, START
        for token in ids:
            logits = self.logits[sentence, before, last].astype(np.float64)
            total += float(logits[token] - np.log(np.exp(logits).sum()))
            before, last = last, token
        return total


def everything(table: Table, sentence: int, longest: int) -> dict[tuple[int, ...], float]:
    """Every output, with or without end token, and its score over its length."""
    outputs = {}
    for length in range(longest + 1):
        for ids in itertools.product(range(1, VOCABULARY), repeat=length):
            whole = ids if length == longest else (*ids, END)
            outputs[ids] = table.score(sentence, whole) / len(whole)
    return outputs


def test_a_beam_that_holds_everything_finds_the_best_output() -> None:
    found = BeamSearch(beam_size=600, end=END, longest=4, hypotheses=600).run(Table(6), (START,), 6)
    for sentence, outputs in enumerate(found):
        scores = everything(Table(6), sentence, 4)
        assert [output.ids for output in outputs] == sorted(scores, key=scores.__getitem__, reverse=True)
        for output in outputs:
            assert output.score == pytest.approx(scores[output.ids], abs=1e-5)


def test_greedy_search_takes_the_likeliest_token_each_time() -> None:
    table = Table(8)
    for sentence, (output,) in enumerate(BeamSearch(1, END, longest=9).run(Table(8), (START,), 8)):
        before, last, ids = 0, START, []
        while len(ids) < 9 and (token := int(table.logits[sentence, before, last].argmax())) != END:
            before, last = last, token
            ids.append(token)
        assert output.ids == tuple(ids)


def test_finished_sentences_leave_the_batch_and_change_nothing_for_the_others() -> None:
    search, table = BeamSearch(3, END, longest=20), Table(12)
    together = search.run(table, (START,), 12)
    assert table.steps[1] == 36 and table.steps[-1] < 36
    for sentence, outputs in enumerate(together):
        alone = Table(12)
        alone.sentence, alone.before = alone.sentence[[sentence]], alone.before[[sentence]]
        assert search.run(alone, (START,), 1) == [outputs]


def test_without_length_penalty_the_search_ends_with_its_best_candidate() -> None:
    with_penalty, without = (BeamSearch(4, END, 20, penalty).run(Table(12), (START,), 12) for penalty in (1.0, 0.0))
    table = Table(12)
    for sentence, (output, *_) in enumerate(without):
        end = (END,) if len(output.ids) < 20 else ()
        assert output.score == pytest.approx(table.score(sentence, (*output.ids, *end)), abs=1e-4)
    assert sum(len(best.ids) for best, *_ in without) < sum(len(best.ids) for best, *_ in with_penalty)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("prompt", [(START,), (START, 3)])
def test_the_best_outputs_are_as_many_as_wanted_and_begin_with_the_best_one(
    length_penalty: float, prompt: tuple[int, ...]
) -> None:
    def run(hypotheses: int) -> list[list[BeamOutput]]:
        return BeamSearch(4, END, 20, length_penalty, hypotheses=hypotheses).run(Table(40), prompt, 40)

    for outputs, (only,), more in zip(run(3), run(1), run(4), strict=True):
        assert (len(outputs), len(more)) == (3, 4)
        assert len({output.ids for output in more}) == 4
        assert outputs == sorted(outputs, key=lambda output: -output.score)
        # Without a penalty on length a search for more goes on where the best one alone is found.
        assert more[0] == outputs[0] == only or length_penalty == 0
        assert more[0].score >= outputs[0].score >= only.score


def test_outputs_that_cannot_be_are_no_outputs() -> None:
    for outputs in BeamSearch(8, END, 1, hypotheses=8).run(Table(4), (START,), 4):
        assert sorted(output.ids for output in outputs) == [(), (1,), (2,), (3,), (4,)]
    ends = [BeamSearch(8, END, 1, hypotheses=8).run(Table(20), (START, 3), 20)[i] for i in range(20)]
    # Behind a prefix the end token is there as the best output or not at all.
    assert {len(outputs) for outputs in ends} == {4, 5}
    assert all(output.ids for outputs in ends for output in outputs[1:])


class Attentive(Table):
    """Keeps the tokens that were read as its attention."""

    def __init__(self, sentences: int) -> None:
        super().__init__(sentences)
        self.read = np.zeros((sentences, 0), dtype=np.float32)

    def advance(self, ids: np.ndarray) -> np.ndarray:
        self.read = np.repeat(self.read, len(ids) // len(self.read), axis=0)
        self.read = np.concatenate([self.read, ids.astype(np.float32)], axis=1)
        return super().advance(ids)

    def select(self, rows: np.ndarray, sentences: np.ndarray | None) -> None:
        super().select(rows, sentences)
        self.read = self.read[rows]

    def attention(self, row: int) -> np.ndarray:
        return self.read[row, :, None]


@pytest.mark.parametrize("prompt", [(START,), (START, 3)])
def test_attention_belongs_to_the_tokens_of_its_output(prompt: tuple[int, ...]) -> None:
    search = BeamSearch(4, END, 6, hypotheses=4)
    for outputs in search.run(Attentive(12), prompt, 12):
        for output in outputs:
            assert output.attention is not None
            # A token was chosen behind the one before it.
            assert output.attention[:, 0].tolist() == [prompt[-1], *output.ids][: len(output.ids)]
    assert search.run(Table(12), prompt, 12) == search.run(Attentive(12), prompt, 12)


def test_an_output_has_at_least_and_at_most_as_many_tokens_as_wanted() -> None:
    assert {len(best.ids) for best, *_ in BeamSearch(2, END, 6, shortest=6).run(Table(8), (START,), 8)} == {6}
    assert max(len(best.ids) for best, *_ in BeamSearch(2, END, 3).run(Table(8), (START,), 8)) == 3
    assert [best.ids for best, *_ in BeamSearch(2, END, 0).run(Table(2), (START,), 2)] == [(), ()]


def test_behind_a_prefix_the_end_token_is_taken_only_as_the_likeliest() -> None:
    table = Table(40, seed=5)
    first = table.logits[:, START, 3]
    for sentence, (output, *_) in enumerate(BeamSearch(4, END, 6).run(Table(40, seed=5), (START, 3), 40)):
        if first[sentence].argmax() != END:
            assert output.ids
    assert any(not output.ids for (output,) in BeamSearch(1, END, 6).run(Table(40, seed=5), (START, 3), 40))


@pytest.mark.parametrize("size", [1, 3, 50, 700, 5000])
def test_the_best_continuations_are_those_of_a_full_sort(size: int) -> None:
    draw = np.random.default_rng(size)
    logits = draw.normal(size=(6, size)).astype(np.float32)
    scores = draw.normal(size=(3, 2)).astype(np.float32)
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    flat = (log_probs.reshape(3, 2, size) + scores[:, :, None]).reshape(3, 2 * size)
    order = np.argsort(-flat, axis=1)[:, :8]
    found, beams, tokens = best(logits.copy(), scores, 8)
    real = order.shape[1]
    np.testing.assert_allclose(found[:, :real], np.take_along_axis(flat, order, axis=1), atol=1e-5)
    np.testing.assert_array_equal(beams[:, :real] * size + tokens[:, :real], order)
    assert (found[:, real:] < -1e9).all()


def test_logits_that_are_no_numbers_are_an_error() -> None:
    logits = np.zeros((1, 9), dtype=np.float32)
    logits[0, 4] = np.nan
    with pytest.raises(FloatingPointError, match="logits are not finite"):
        best(logits, np.zeros((1, 1), dtype=np.float32), 2)
