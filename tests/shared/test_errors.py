from fmalloc_shared.errors import FmallocError


def test_a_message_is_printable_and_short_whatever_was_in_the_file() -> None:
    message = str(FmallocError(f"a.json: version is {'x' * 300_000}\x1b[31m\nb.json: version is 3: expected 1"))
    assert len(message) < 4_000 and message.isascii() and "\x1b" not in message
    long, short = message.split("\n")
    assert long.startswith("a.json: version is xxx") and long.endswith("x\\u001b[31m") and "characters ..." in long
    assert short == "b.json: version is 3: expected 1"


def test_a_message_has_a_few_screens_at_most() -> None:
    lines = str(FmallocError("\n".join(f"a.json: problem {number}" for number in range(10_000)))).split("\n")
    assert len(lines) == 201 and lines[199:] == ["a.json: problem 199", "and 9,800 more lines"]
