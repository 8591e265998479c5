"""fmalloc translate with --output: files, folders, stops and what is there already."""

import json
import os
import shutil
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import polib
import pytest
from click.testing import CliRunner, Result

from fmalloc_runtime.commands import translate
from fmalloc_runtime.files import run as files_run
from fmalloc_runtime.live.snapshot import Snapshot
from fmalloc_shared.commands import progress
from tests.support.bundles import SENTENCES
from tests.support.files import SAMPLES

LINE = SENTENCES["it"][0]
PO = f'msgid "{LINE}"\nmsgstr ""\n\nmsgid "Salz"\nmsgstr "Salt"\n'


def run(bundles: Path, *arguments: str | Path, text: bytes = b"") -> Result:
    command = ["--bundles", str(bundles), "--device", "cpu", "--threads", "1", *map(str, arguments)]
    return CliRunner().invoke(translate, command, input=text)


def write(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def counted(monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> list[str]:
    """Texts that the model is given from now on; after so many calls, it is interrupted."""
    said: list[str] = []
    calls = [0]
    real = Snapshot.translate

    def listened(self: Snapshot, texts: list[str], *rest: object) -> object:
        calls[0] += 1
        if stop_after is not None and calls[0] > stop_after:
            raise KeyboardInterrupt
        said.extend(texts)
        return real(self, texts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Snapshot, "translate", listened)
    return said


def test_a_file(bundles: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "de.po", tmp_path / "en.po"
    source.write_text(PO)
    result = run(bundles, "--domain", "it", source, "-o", output)
    assert result.exit_code == 0, result.output
    assert result.stdout == "" and "de.po: domain it (asked for), bundle it@" in result.stderr
    expected = run(bundles, "--domain", "it", text=f"{LINE}\n".encode()).stdout.rstrip("\n")
    assert [entry.msgstr for entry in polib.pofile(str(output))] == [expected, "Salt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["de.po", "en.po"]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_format(bundles: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SAMPLES[name])
    output = tmp_path / f"out{Path(name).suffix}"
    result = run(bundles, tmp_path / name, "--output", output)
    assert result.exit_code == 0, result.output
    assert output.read_bytes() != SAMPLES[name]


def test_what_is_there_stays_unless_forced(bundles: Path, tmp_path: Path) -> None:
    source = tmp_path / "de.po"
    source.write_text(PO)
    result = run(bundles, source, "-o", source)
    assert result.exit_code == 2 and "is there already: --force writes over it" in result.stderr
    assert source.read_text() == PO
    assert run(bundles, source, "-o", source, "--force", "--again").exit_code == 0
    assert '"Salt"' not in source.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.po"], "expected --output, the file to write"),
        (["folder"], "expected --output, the folder to write"),
        (["x.po", "-o", "y.xliff"], "expected a name that ends in .po: formats are not converted"),
        (["x.po", "-o", "absent/y.po"], "no folder absent"),
        (["x.po", "-o", "y.po", "--format", "xml"], "whose format its name tells: no --format"),
        (["-", "-o", "y.po"], "expected a file or folder to translate"),
        (["x.txt", "--again"], "expected --output"),
        (["x.exe", "-o", "y.exe"], "expected a name that ends in one of .xliff"),
        (["bad.po", "-o", "y.po"], "bad.po:1: 'nein' is not PO"),
        (["folder", "-o", "folder/out"], "expected a folder beside folder"),
        (["empty", "-o", "out"], "has no file of a format that is read"),
        (["x.po", "-o", "y.po", "--domain", "law"], "domain 'law' is not served"),
        (["absent.po", "-o", "y.po"], "does not exist"),
    ],
)
def test_refused(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path, x_dot_po=PO, x_dot_txt="Salz", x_dot_exe="", bad_dot_po="nein", folder__a_dot_po=PO, empty__x_dot_y=""
    )
    before = sorted(tmp_path.rglob("*"))
    result = run(bundles.absolute(), *arguments)
    assert result.exit_code == 2 and message in result.output, result.output
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.name != "out"] == []


def test_a_folder(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "de", a_dot_po=PO, sub__b_dot_txt="Salz.\n", c_dot_png="", _dot_hidden_dot_txt="x")
    output = tmp_path / "en"
    result = run(bundles, source, "-o", output)
    assert result.exit_code == 0, result.output
    assert (
        "1 files of other formats are left out" in result.stderr and "2 files translated, 0 were done" in result.stderr
    )
    names = sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file())
    assert [name for name in names if not name.startswith(".")] == ["a.po", "sub/b.txt"]
    said = counted(monkeypatch)
    assert "0 files translated, 2 were done before" in run(bundles, source, "-o", output).stderr and not said
    (source / "sub" / "b.txt").write_text("Pfeffer.\n")
    assert "1 files translated, 1 were done before" in run(bundles, source, "-o", output).stderr
    assert said == ["Pfeffer."]
    assert "2 files translated" in run(bundles, "--beam-size", "2", source, "-o", output).stderr


def test_a_file_that_was_edited_stays(bundles: Path, tmp_path: Path) -> None:
    source, output = write(tmp_path / "de", a_dot_txt="Salz.\n", b_dot_txt="Eis.\n"), tmp_path / "en"
    run(bundles, source, "-o", output)
    (output / "a.txt").write_text("Salt.\n")
    result = run(bundles, source, "-o", output)
    assert result.exit_code == 2 and "a.txt: was not written by this, or changed since: --force" in result.stderr
    assert (output / "a.txt").read_text() == "Salt.\n"
    assert run(bundles, source, "-o", output, "--force").exit_code == 0
    assert (output / "a.txt").read_text() != "Salt.\n"


def test_one_bad_file_does_not_keep_others(bundles: Path, tmp_path: Path) -> None:
    source, output = write(tmp_path / "de", a_dot_po="nein", b_dot_txt="Eis.\n"), tmp_path / "en"
    result = run(bundles, source, "-o", output)
    assert result.exit_code == 2 and "a.po:1: 'nein' is not PO" in result.stderr
    assert "1 of 2 files were not translated: see above" in result.stderr and (output / "b.txt").exists()


def test_a_long_file_goes_on_where_it_was(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"Salz und Zucker {number}." for number in range(450)]
    (tmp_path / "de.txt").write_text("\n".join(lines))
    with monkeypatch.context() as patched:
        counted(patched, stop_after=2)
        result = run(bundles, "--beam-size", "1", tmp_path / "de.txt", "-o", tmp_path / "en.txt")
    assert result.exit_code == 130 and not (tmp_path / "en.txt").exists()
    journal = tmp_path / ".en.txt.fmalloc-units.jsonl"
    assert len(journal.read_text().splitlines()) == 400
    with journal.open("a") as file:
        file.write('{"torn')
    said = counted(monkeypatch)
    assert run(bundles, "--beam-size", "1", tmp_path / "de.txt", "-o", tmp_path / "en.txt").exit_code == 0
    assert said == lines[400:] and not journal.exists()
    whole = run(bundles, "--beam-size", "1", tmp_path / "de.txt", "-o", tmp_path / "again.txt")
    assert whole.exit_code == 0 and (tmp_path / "again.txt").read_bytes() == (tmp_path / "en.txt").read_bytes()


def test_another_bundle_or_setting_does_not_take_what_was_kept(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "de.txt").write_text("\n".join(f"Salz {number}." for number in range(250)))
    arguments = ("--domain", "it", tmp_path / "de.txt", "-o", tmp_path / "en.txt")
    with monkeypatch.context() as patched:
        counted(patched, stop_after=1)
        assert run(bundles, "--beam-size", "1", *arguments).exit_code == 130
    said = counted(monkeypatch)
    assert run(bundles, "--beam-size", "2", *arguments).exit_code == 0
    assert len(said) == 250


def test_dry_run_says_what_there_is(bundles: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "de", a_dot_po=PO, b_dot_txt="Salz.\n")
    result = run(bundles, source, "-o", tmp_path / "en", "--dry-run")
    assert result.exit_code == 0 and not (tmp_path / "en").exists()
    first = f"a.po: PO, POT, 1 units, {len(LINE)} characters to translate\n"
    assert result.stdout == f"{first}b.txt: plain text, 1 units, 5 characters to translate\n"


def test_a_pot_becomes_a_po(bundles: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pot").write_text(PO)
    assert run(bundles, tmp_path / "a.pot", "-o", tmp_path / "a.po").exit_code == 0


def test_nothing_to_translate(bundles: Path, tmp_path: Path) -> None:
    (tmp_path / "a.po").write_text('msgid "5"\nmsgstr ""\n')
    result = run(bundles, tmp_path / "a.po", "-o", tmp_path / "b.po")
    assert result.exit_code == 0 and "nothing to translate" in result.stderr
    assert (tmp_path / "b.po").read_bytes() == (tmp_path / "a.po").read_bytes()


def test_links_pipes_and_names_of_a_folder(bundles: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "de", a_dot_txt="Salz.\n")
    os.mkfifo(source / "pipe.txt")
    (source / "gone.txt").symlink_to(tmp_path / "absent")
    (source / "\x1b[31m.txt").write_text("Eis.\n")
    result = run(bundles, source, "-o", tmp_path / "en")
    assert (
        result.exit_code == 2 and "pipe.txt: is a FIFO" in result.stderr and "gone.txt: cannot be read" in result.stderr
    )
    assert "\x1b" not in result.output and (tmp_path / "en" / "\x1b[31m.txt").exists()


def test_a_log_says_how_far_it_is(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_every", 0.0)
    (tmp_path / "de.txt").write_text("\n".join(f"Salz {number}." for number in range(250)))
    result = run(bundles, "--beam-size", "1", tmp_path / "de.txt", "-o", tmp_path / "en.txt")
    assert "de.txt: 200 of 250\n" in result.stderr


def test_records_of_a_folder_are_whole(bundles: Path, tmp_path: Path) -> None:
    source, output = write(tmp_path / "de", a_dot_txt="Salz.\n"), tmp_path / "en"
    run(bundles, source, "-o", output)
    (record,) = map(json.loads, (output / ".fmalloc-files.jsonl").read_text().splitlines())
    assert record["name"] == "a.txt" and set(record) == {"version", "name", "source", "settings", "output"}
    shutil.rmtree(output)
    assert "1 files translated" in run(bundles, source, "-o", output).stderr


def test_docx_stays_a_docx(bundles: Path, tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(SAMPLES["a.docx"])
    run(bundles, tmp_path / "a.docx", "-o", tmp_path / "b.docx")
    before, after = (ZipFile(BytesIO((tmp_path / name).read_bytes())) for name in ("a.docx", "b.docx"))
    assert before.namelist() == after.namelist() and after.testzip() is None


def test_a_crash_before_the_file_is_there(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, output = write(tmp_path / "de", a_dot_txt="Salz.\n"), tmp_path / "en"
    assert run(bundles, source, "-o", output).exit_code == 0
    (source / "a.txt").write_text("Eis.\n")
    with monkeypatch.context() as patched:
        patched.setattr(files_run, "write_atomically", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(bundles, source, "-o", output).exit_code == 130
    before = (output / "a.txt").read_bytes()
    assert "1 files translated" in run(bundles, source, "-o", output).stderr
    assert (output / "a.txt").read_bytes() != before


def test_units_that_stay_are_counted(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.md").write_text("Das *Fenster* ist offen.\n\nSalz.\n")
    monkeypatch.setattr("fmalloc_runtime.files.readers.markdown._Reader._shape", lambda *_: None)
    result = run(bundles, tmp_path / "a.md", "-o", tmp_path / "b.md")
    assert result.exit_code == 0 and "a.md: 2 units stay as they are" in result.stderr
