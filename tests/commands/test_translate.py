"""fmalloc translate, as its users run it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.commands import translate
from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.translation import TextOptions
from tests.support import ROOT
from tests.support.bundles import CPU, SENTENCES, bundle_of, make_live, write_bundle
from tests.support.estimates import write_judged_bundle


def run(bundles: Path, *arguments: str, text: bytes = b"") -> Result:
    command = ["--bundles", str(bundles), "--device", "cpu", "--threads", "1", *arguments]
    return CliRunner().invoke(translate, command, input=text)


def test_it_routes_the_whole_input_and_translates_line_by_line(bundles: Path) -> None:
    lines = [*SENTENCES["kitchen"], SENTENCES["it"][0]]
    result = run(bundles, text="".join(f"{line}\n" for line in lines).encode())
    expected = Translator.load(Bundle.open(bundle_of(bundles, "kitchen")), CPU).translate(lines)
    assert result.exit_code == 0
    assert result.stdout == "".join(f"{item.text}\n" for item in expected)
    name = bundle_of(bundles, "kitchen").name
    assert result.stderr.startswith("domain kitchen (detected); general 0.0") and result.stderr.endswith(f"{name}\n")


def test_a_named_domain_and_line_ends(bundles: Path, tmp_path: Path) -> None:
    line = SENTENCES["it"][0]
    text = Translator.load(Bundle.open(bundle_of(bundles, "general")), CPU).translate([line])[0].text
    (tmp_path / "in.txt").write_bytes(b"\xef\xbb\xbf" + f"{line}\r\n\n  \n{line}".encode())
    result = run(bundles, "--domain", "general", str(tmp_path / "in.txt"))
    assert result.stdout_bytes == f"{text}\r\n\n  \n{text}".encode()
    assert "domain general (asked for)" in result.stderr


def test_beam_size_reaches_the_engine(bundles: Path) -> None:
    text = "".join(f"{line}\n" for lines in SENTENCES.values() for line in lines).encode()
    assert run(bundles, "--beam-size", "1", text=text).stdout != run(bundles, "--beam-size", "6", text=text).stdout


def test_without_one_the_bundles_own_beam_size_holds(own_bundles: Path) -> None:
    text = "".join(f"{line}\n" for line in SENTENCES["it"]).encode()
    greedy, wide = (run(own_bundles, "--domain", "it", "--beam-size", size, text=text).stdout for size in "16")
    own = write_bundle(own_bundles, "it", seed=1, golden=(), beam_size=1)
    make_live(own_bundles, bundle_of(own_bundles, "general"), own)
    assert run(own_bundles, "--domain", "it", text=text).stdout == greedy != wide
    assert run(own_bundles, "--domain", "it", "--beam-size", "6", text=text).stdout == wide


def test_a_line_that_is_too_long_is_translated_in_parts(bundles: Path) -> None:
    line = SENTENCES["it"][0]
    short = run(bundles, "--domain", "it", text=f"{line}\n".encode()).stdout
    result = run(bundles, "--domain", "it", text=f"{line}\n{line * 9}\n{line}\n".encode())
    first, long, last = result.stdout.splitlines(keepends=True)
    assert result.exit_code == 0 and first == last == short
    assert len(long) > 3 * len(short)


@pytest.mark.parametrize("kind", ["html", "xml"])
def test_a_document_keeps_its_tags_and_is_routed_by_its_text(bundles: Path, tmp_path: Path, kind: str) -> None:
    first, second = SENTENCES["kitchen"][:2]
    text = f'<div>\r\n<p id="a">{first}</p>\n<p>{second}</p></div>\n'
    (tmp_path / "in").write_bytes(b"\xef\xbb\xbf" + text.encode())
    result = run(bundles, "--format", kind, str(tmp_path / "in"))
    assert result.exit_code == 0 and "domain kitchen (detected)" in result.stderr
    options = TextOptions(format=kind)  # type: ignore[arg-type]
    (translation,), _ = Registry(bundles, CPU).load().translate([text], "kitchen", options)
    assert result.stdout_bytes == translation.text.encode()
    assert result.stdout_bytes.startswith(b'<div>\r\n<p id="a">') and result.stdout_bytes.endswith(b"</p></div>\n")


def test_placeholders_are_kept_unless_told_otherwise(bundles: Path) -> None:
    text = f"{SENTENCES['it'][0]} {{count}} https://example.com/a?b=c\n".encode()
    kept = run(bundles, "--domain", "it", text=text).stdout
    assert "{count}" in kept and "https://example.com/a?b=c" in kept
    assert "{count}" not in run(bundles, "--domain", "it", "--no-protect", text=text).stdout


def test_no_input_gives_no_output(bundles: Path) -> None:
    result = run(bundles)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "domain general (no text)" in result.stderr


def test_many_lines_come_out_in_order(bundles: Path) -> None:
    lines = [SENTENCES["it"][index % 8] for index in range(700)]
    result = run(bundles, "--domain", "it", "--beam-size", "1", text="\n".join(lines).encode())
    output = result.stdout.split("\n")
    assert len(output) == 700 and output == [output[index % 8] for index in range(700)]


@pytest.mark.parametrize(
    ("arguments", "text", "complaint"),
    [
        (["--domain", "law"], b"x\n", "domain 'law' is not served: use auto or one of general, it, kitchen"),
        ([], b"gut\ngr\xfc\xdfe\n", "<stdin>:2: byte 0xfc at column 3 is not UTF-8"),
    ],
)
def test_bad_input_is_a_message_and_exit_code_2(
    bundles: Path, arguments: list[str], text: bytes, complaint: str
) -> None:
    result = run(bundles, *arguments, text=text)
    assert result.exit_code == 2
    assert complaint in result.stderr and "Traceback" not in result.stderr


def test_broken_bundles_are_a_message_and_exit_code_2(own_bundles: Path, tmp_path: Path) -> None:
    model = bundle_of(own_bundles, "it") / "model" / "model.bin"
    model.write_bytes(model.read_bytes()[:-1])
    result = run(own_bundles, text=b"x\n")
    assert result.exit_code == 2 and "model.bin: sha256 is" in result.stderr
    result = run(tmp_path / "nowhere", text=b"x\n")
    assert result.exit_code == 2 and "live.json: cannot be read" in result.stderr


def test_the_module_runs_with_a_real_pipe(bundles: Path) -> None:
    command = [sys.executable, "-m", "fmalloc", "translate", "--bundles", str(bundles), "--device", "cpu"]
    roots = [str(ROOT / root) for root in (".", "export", "runtime")]
    text = f"{SENTENCES['it'][0]}\n".encode()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(roots)}
    done = subprocess.run(command, input=text, capture_output=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    expected = Translator.load(Bundle.open(bundle_of(bundles, "it")), CPU).translate([SENTENCES["it"][0]])
    assert done.stdout.decode() == f"{expected[0].text}\n"


def test_help_teaches_by_example() -> None:
    result = CliRunner().invoke(translate, ["--help"])
    assert "fmalloc translate --bundles bundles --domain auto < in.txt > out.txt" in result.stdout


def test_each_line_says_whether_it_needs_editing(tmp_path: Path) -> None:
    path = write_judged_bundle(tmp_path, "it", intercept=-1.0, log_probability=-0.7)
    make_live(tmp_path, path)
    lines = [SENTENCES["it"][0], "", SENTENCES["it"][1]]
    text = "".join(f"{line}\n" for line in lines).encode()
    result = run(tmp_path, "--needs-editing", text=text)
    assert result.exit_code == 0, result.output
    found = [line.split("\t") for line in result.stdout.splitlines()]
    assert "".join(f"{line}\n" for _, line in found) == run(tmp_path, text=text).stdout
    model = Translator.load(Bundle.open(path), CPU)
    scores = [
        model.needs_editing(line, item.text, item.score or 0)
        for line, item in zip(lines, model.translate(lines), strict=True)
    ]
    assert [estimate for estimate, _ in found] == [f"{scores[0]:.3f}", "", f"{scores[2]:.3f}"]


def test_no_estimate_is_an_error_that_says_what_to_do(bundles: Path, tmp_path: Path) -> None:
    result = run(bundles, "--domain", "it", "--needs-editing", text=b"Text.\n")
    assert result.exit_code == 2 and "has no estimate: export it again" in result.stderr and not result.stdout
    for wrong in (["--format", "html"], ["--output", str(tmp_path / "x.txt"), __file__]):
        result = run(bundles, "--needs-editing", *wrong)
        assert result.exit_code == 2 and "--needs-editing: goes before lines of text" in result.stderr


def test_a_glossary_is_kept_or_refused(bundles: Path, tmp_path: Path) -> None:
    glossary = tmp_path / "terms.tsv"
    glossary.write_text("Datei\tdossier\n")
    line = SENTENCES["it"][0].encode()
    result = run(bundles, "--domain", "it", "--glossary", str(glossary), text=line)
    assert result.exit_code == 0 and "dossier" in result.stdout.lower()
    assert "dossier" not in run(bundles, "--domain", "it", text=line).stdout.lower()
    glossary.write_text("Datei\n")
    result = run(bundles, "--domain", "it", "--glossary", str(glossary), text=line)
    assert result.exit_code == 2 and "terms.tsv:1: 'Datei' has 1 columns" in result.output
