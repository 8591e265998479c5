"""Mutations of text by line: YAML, TOML, TSV, TMX and plain sentences."""

import random

_LINES = (
    "", " ", "\t", "\t\t", "a\tb\tc", "a", "- x", "tasks:", "  name: it", "name: it", "base: *a", "a: &a [*a]",
    "<<: {a: b}", "? a", "!!python/object:os.system {}",
    "sparsity: .nan", "sparsity: 1e999", "sparsity: 2026-13-45", "date: 2026-02-30", "x: !!binary zz",
    "x: !!timestamp a", "x: !!int '9'",
    "\ufeff", "\u2028", "\u0085", "\x00", "\x1b[31m", "\u202e", "%YAML 9.9", "---", "...", "@", "`", "{",
    "[" * 5000, "{a: " * 2000, "x: " + "9" * 5000,
    "base: ${HOME}", "base: ~root", "base: ${NO_SUCH}", "general: /dev/zero", "store: /proc/self", "store: ''",
    "<tu>", "</tmx>", "<tuv xml:lang='de'><seg>a</seg></tuv>",
    "<!DOCTYPE tmx [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;'><!ENTITY c '&b;&b;&b;&b;&b;'>]>",
    "&c;", "&x;",
    "<x>" * 3000, "<tu><tuv xml:lang='de'><seg>" + "<bpt>" * 800, "x" * 200_000, "=" * 300, "\ud800", "ä" * 3000,
    "é́" * 500,
    *(f"{word} {index}" for index, word in enumerate(("Ärger", "\u200b", "🏳️‍🌈", "ﷺ"))),
)  # fmt: skip
_VALUES = (
    "", " ", "~", "null", "yes", "-1", "0", "1", "1e400", ".inf", ".NaN", "0x10", "1_000", "12:30:45", "[]", "{}",
    "[a, b]", "*a", "&a b", "!x y", "'", '"\\ud800"', "|", ">", "2026-01-01", "a: b: c", "x" * 100_000,
    "../../..", "/", "\x07", "auto", "cuda:99", "general",
)  # fmt: skip


def mutate_text(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """Text with one to three lines changed, and what was done to it."""
    lines = content.decode("utf-8", "replace").split("\n")
    notes = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        notes.append(_mutate_lines(lines, draw))
    return "\n".join(lines).encode("utf-8", "surrogatepass"), "; ".join(notes)


def _mutate_lines(lines: list[str], draw: random.Random) -> str:
    at = draw.randrange(max(1, len(lines)))
    line = lines[at] if lines else ""
    match draw.randrange(9):
        case 0:
            del lines[at : at + 1]
            return f"line {at + 1} deleted"
        case 1:
            lines.insert(at, line)
            return f"line {at + 1} twice"
        case 2:
            other = draw.randrange(max(1, len(lines)))
            if lines:
                lines[at], lines[other] = lines[other], lines[at]
            return f"lines {at + 1} and {other + 1} swapped"
        case 3:
            lines[at : at + 1] = [" " * draw.choice((1, 2, 3, 9)) + line]
            return f"line {at + 1} indented"
        case 4 | 5:
            new = draw.choice(_LINES)
            lines.insert(at, new)
            return f"{new[:40]!r} before line {at + 1}"
        case 6 | 7:
            value = draw.choice(_VALUES)
            head, separator, _ = line.partition(draw.choice((":", "=", "\t", ">", " ")))
            lines[at : at + 1] = [f"{head}{separator} {value}"]
            return f"line {at + 1}: {value[:40]!r}"
        case _:
            value = draw.choice(_LINES)
            cut = draw.randrange(len(line) + 1)
            lines[at : at + 1] = [line[:cut] + value + line[cut:]]
            return f"{value[:40]!r} in line {at + 1}"
