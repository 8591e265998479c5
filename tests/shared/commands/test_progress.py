import io

import pytest
from rich.console import Console

from fmalloc_shared.commands import progress


@pytest.mark.parametrize(
    ("total", "expected"),
    [(200, ["importance: 30 of 200, ", " left, loss 3.1"]), (None, ["importance: loss 3.1"])],
)
def test_without_a_terminal_a_line_says_now_and_then_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, total: int | None, expected: list[str]
) -> None:
    written, now = io.StringIO(), [100.0]
    monkeypatch.setattr(progress, "console", Console(file=written, soft_wrap=True))
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.bar("importance", total) as advance:
        for _ in range(65):
            now[0] += 1.0
            advance(1, note="loss 3.1")
    lines = written.getvalue().splitlines()
    assert len(lines) == 2
    assert all(part in lines[0] for part in expected)


def test_short_work_says_nothing_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=written))
    with progress.bar("importance", 3) as advance:
        for _ in range(3):
            advance()
    assert written.getvalue() == ""
