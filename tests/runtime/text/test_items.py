"""What counts as an item, and when an output has kept it."""

import time

import pytest

from fmalloc_runtime.text.items import Item, find_again, find_items


def items(text: str) -> list[str]:
    return [text[slice(*span)] for span, _ in find_items(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%d von %d Dateien (%.1f %%) in %-10s", ["%d", "%d", "%.1f", "%%", "%-10s"]),
        ("%1$s hat %2$d; %(count)d von %(total)s", ["%1$s", "%2$d", "%(count)d", "%(total)s"]),
        ("%ld Bytes, %zu, %@ und %n, %1 von %L2", ["%ld", "%zu", "%@", "%n", "%1", "%L2"]),
        ("50 % der Fälle, 20%ige und 5 %ige Lösung", ["50", "20", "5"]),
        ("{name} {0} {0:.2f} {} {user.name!r} {Hallo Welt}", ["{name}", "{0}", "{0:.2f}", "{}", "{user.name!r}"]),
        (
            "${pfad} {{ name|upper }} %{zahl} #{x} {% if a %}",
            ["${pfad}", "{{ name|upper }}", "%{zahl}", "#{x}", "{% if a %}"],
        ),
        ("{n, plural, one {# Datei} other {{n} Dateien}}!", ["{n, plural, one {# Datei} other {{n} Dateien}}"]),
        ("{n, plural, one {# Datei", []),
        ("Siehe https://a.de/b_(c)?x=1&y=%20#z. Ende", ["https://a.de/b_(c)?x=1&y=%20#z"]),
        ("www.a.de, mailto:x@y.de oder (v.w+z@a-b.co.uk)", ["www.a.de", "mailto:x@y.de", "v.w+z@a-b.co.uk"]),
        (r"/etc/fstab, ~/.bashrc, C:\Windows\x.ini, und/oder km/h", ["/etc/fstab", "~/.bashrc", r"C:\Windows\x.ini"]),
        ("1.000,50 am 3. um 14:30 in MP3, UTF-8, x86_64, 5GB", ["1.000,50", "3", "14:30", "5"]),
        ("&kde; und R&D", ["&kde;"]),
    ],
)
def test_items(text: str, expected: list[str]) -> None:
    assert items(text) == expected


@pytest.mark.parametrize(
    "unit", ["%", "{", "{a,plural{", "a@", "/a", "1.", "1 234 ", "1/", "http://", "%(", "{{", "&a", "www."]
)
def test_time_grows_with_length_alone(unit: str) -> None:
    begin = time.process_time()
    find_items(unit * (100_000 // len(unit)))
    assert time.process_time() - begin < 5


def kept(source: str, output: str) -> bool:
    found = [Item(*span, kind, source[slice(*span)], source[slice(*span)]) for span, kind in find_items(source)]
    return find_again(source, [item for item in found if item.kind != "number"], output) is not None


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        ("%s und %s", "%s and %s", True),
        ("%s und %s", "%s and", False),
        ("%s", "%s %s", False),
        ("%s", "%s %d", False),
        ("%s für %s1", "%s1 for %s", True),
        ("http://a.de/", "http://a.de", False),
    ],
)
def test_what_counts_as_kept(source: str, output: str, expected: bool) -> None:
    assert kept(source, output) is expected
