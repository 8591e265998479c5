"""Signatures of bundles: what they hold for, everything that breaks one, and minisign's own program beside ours."""

import base64
import os
import re
import shutil
import string
import subprocess
from collections.abc import Callable
from pathlib import Path

import minisign
import pytest

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.bundle.signature import TrustedKeys, key_id, read_public_key, read_secret_key
from fmalloc_shared.errors import FmallocError
from tests.support.bundles import bundle_of, write_bundle
from tests.support.needs import skip_without
from tests.support.packing import packed, unpacked
from tests.support.signing import pair, signature_of, signed, trusting

# Made by minisign of the file `test`: published with the verifier of its author.
PUBLISHED_KEY = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"
PUBLISHED = (
    "untrusted comment: signature from minisign secret key\n"
    "RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n"
    "trusted comment: timestamp:1633700835\tfile:test\tprehashed\n"
    "wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==\n"
)


class Setting:
    """A signed bundle that a test may change, its keys, and those of another."""

    def __init__(self, bundles: Path, folder: Path) -> None:
        self.bundles, self.folder = bundles, folder
        self.key, self.public = pair(folder)
        self.other_key, self.other_public = pair(folder, "other")
        self.bundle = signed(bundle_of(bundles, "it"), self.key)
        self.signature = signature_of(self.bundle)

    def read(self) -> Bundle:
        bundle = Bundle.read(self.bundle, trusting(self.public))
        bundle.verify()
        return bundle

    def lines(self) -> list[bytes]:
        return self.signature.read_bytes().splitlines()

    def put(self, *lines: bytes) -> None:
        self.signature.write_bytes(b"".join(line + b"\n" for line in lines))


@pytest.fixture
def setting(own_bundles: Path, tmp_path: Path) -> Setting:
    return Setting(own_bundles, tmp_path)


def test_a_published_signature_of_minisign_holds(tmp_path: Path) -> None:
    (tmp_path / "a.pub").write_text(f"untrusted comment: minisign public key E7620F1842B4E81F\n{PUBLISHED_KEY}\n")
    signature_of(tmp_path).write_text(PUBLISHED)
    trusted = trusting(tmp_path / "a.pub")
    assert trusted.ids == "E7620F1842B4E81F"
    found = trusted.check(tmp_path, b"test")
    assert (found.key, found.comment) == (trusted.ids, "timestamp:1633700835\tfile:test\tprehashed")
    with pytest.raises(FmallocError, match="is no signature by key E7620F1842B4E81F of this manifest"):
        trusted.check(tmp_path, b"Test")


def test_a_signed_bundle_is_who_signed_it(setting: Setting) -> None:
    found = setting.read().signed
    assert found is not None
    assert found.key == key_id(read_public_key(setting.public))
    assert re.fullmatch(rf"timestamp:\d+\tfile:manifest.json\tbundle:{setting.bundle.name}\thashed", found.comment)
    both = TrustedKeys.read([setting.other_public, setting.public])
    assert Bundle.read(setting.bundle, both).signed == found
    assert Bundle.open(setting.bundle).signed is None


def _decoded(change: Callable[[bytes], bytes], line: int = 1) -> Callable[[Setting], object]:
    def damage(setting: Setting) -> None:
        lines = setting.lines()
        lines[line] = base64.b64encode(change(base64.b64decode(lines[line])))
        setting.put(*lines)

    return damage


def _line(number: int, old: bytes, new: bytes) -> Callable[[Setting], object]:
    def damage(setting: Setting) -> None:
        lines = setting.lines()
        assert old in lines[number]
        lines[number] = lines[number].replace(old, new)
        setting.put(*lines)

    return damage


def _content(change: Callable[[bytes], bytes]) -> Callable[[Setting], object]:
    return lambda setting: setting.signature.write_bytes(change(setting.signature.read_bytes()))


def _other_letters(setting: Setting) -> None:
    """The last letter of base64 has bits that stand for nothing."""
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    lines = setting.lines()
    stem, last = lines[1].rstrip(b"=")[:-1], letters.index(chr(lines[1].rstrip(b"=")[-1]))
    before = base64.b64decode(lines[1])
    lines[1] = stem + letters[last + 1].encode() + b"="
    assert base64.b64decode(lines[1], validate=True) == before
    setting.put(*lines)


def _of_another_bundle(setting: Setting) -> None:
    other = signed(bundle_of(setting.bundles, "kitchen"), setting.key)
    shutil.copy(signature_of(other), setting.signature)


def _by_another(setting: Setting) -> None:
    signed(setting.bundle, setting.other_key, force=True)


def _with_the_id_of_the_trusted(setting: Setting) -> None:
    """Another key signs and says that it is the trusted one."""
    wanted = base64.b64decode(setting.public.read_bytes().splitlines()[1])[2:10]
    _by_another(setting)
    _decoded(lambda data: data[:2] + wanted + data[10:])(setting)


def _legacy(setting: Setting) -> None:
    key = minisign.SecretKey.from_file(setting.key)
    made = key.sign((setting.bundle / "manifest.json").read_bytes(), prehash=False)
    setting.signature.write_bytes(bytes(made) + b"\n")


def _halves_of_two(setting: Setting) -> None:
    """The comment of another good signature, with what covers it."""
    before = setting.lines()
    key = minisign.SecretKey.from_file(setting.key)
    other = bytes(key.sign(b"else", trusted_comment="bundle:else")).splitlines()
    setting.put(*before[:2], *other[2:])


def _other_manifest(setting: Setting) -> None:
    path = setting.bundle / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"level": "O0"', b'"level": "O1"'))


def _whole_other_bundle(setting: Setting) -> None:
    """Another model with a manifest and a name that fit, and the signature of the one before."""
    new = write_bundle(setting.bundles, "it", seed=9)
    shutil.copy(setting.signature, signature_of(new))
    setting.bundle = new


def _other_file(setting: Setting) -> None:
    path = setting.bundle / "golden.jsonl"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b"\n")


def _linked(setting: Setting) -> None:
    shutil.move(setting.signature, setting.folder / "elsewhere")
    setting.signature.symlink_to(setting.folder / "elsewhere")


def _instead(make: Callable[[Path], object]) -> Callable[[Setting], object]:
    def damage(setting: Setting) -> None:
        setting.signature.unlink()
        make(setting.signature)

    return damage


CHANGED = "is no signature by key [0-9A-F]{16} of this manifest.json: one of the two was changed, or it belongs"
MALFORMED = "no signature as minisign writes it"
FORM = "not exactly as minisign writes it"
TAMPERED: dict[str, tuple[Callable[[Setting], object], str]] = {
    "no signature": (_instead(lambda _: None), r"is not signed \(no .*minisig\), but has to be by [0-9A-F]{16}"),
    "of another bundle": (_of_another_bundle, CHANGED),
    "by another key": (_by_another, "signed by key [0-9A-F]{16}, which is not trusted; trusted: [0-9A-F]{16}"),
    "by another key with the id of the trusted": (_with_the_id_of_the_trusted, CHANGED),
    "the id of another key": (_decoded(lambda data: data[:2] + bytes(8) + data[10:]), "key 0{16}, which is not"),
    "the file itself is signed": (_legacy, r"signs the file itself \(algorithm Ed\)"),
    "it says that the file itself is signed": (_decoded(lambda data: b"Ed" + data[2:]), r"\(algorithm Ed\)"),
    "an unknown algorithm": (_decoded(lambda data: b"XX" + data[2:]), MALFORMED),
    "a bit of the signature": (_decoded(lambda data: data[:-1] + bytes([data[-1] ^ 1])), CHANGED),
    "a bit of the comment's signature": (_decoded(lambda data: bytes([data[0] ^ 1]) + data[1:], 3), CHANGED),
    "all zero": (_decoded(lambda data: data[:10] + bytes(64)), CHANGED),
    "another comment": (_line(2, b"bundle:it@", b"bundle:law@"), CHANGED),
    "the comment of another signature": (_halves_of_two, CHANGED),
    "cut in the middle": (_content(lambda content: content[: len(content) // 2]), MALFORMED),
    "cut by a line": (lambda setting: setting.put(*setting.lines()[:3]), MALFORMED),
    "cut by a byte of the signature": (_decoded(lambda data: data[:-1]), MALFORMED),
    "empty": (_content(lambda _: b""), MALFORMED),
    "a line more": (_content(lambda content: content + b"more\n"), MALFORMED),
    "an empty line more": (_content(lambda content: content + b"\n"), MALFORMED),
    "lines of Windows": (_content(lambda content: content.replace(b"\n", b"\r\n")), FORM),
    "spaces within": (_line(1, b"=", b"= "), MALFORMED),
    "other letters of the same number": (_other_letters, FORM),
    "not UTF-8": (_line(2, b"bundle", b"\xff"), MALFORMED),
    "no signature at all": (_content(lambda _: os.urandom(300)), MALFORMED),
    "larger than any": (_content(lambda content: content * 500), "larger than 32768 bytes"),
    "a link": (_linked, "manifest.json.minisig: is a link"),
    "a link to nothing": (_instead(lambda path: path.symlink_to("nothing")), "manifest.json.minisig: is a link"),
    "a folder": (_instead(Path.mkdir), "manifest.json.minisig: cannot be read: Is a directory"),
    "a FIFO": (_instead(os.mkfifo), "manifest.json.minisig: is a FIFO"),
    "another manifest": (_other_manifest, CHANGED),
    "a whole other bundle": (_whole_other_bundle, CHANGED),
    "another file": (_other_file, "golden.jsonl: sha256 is"),
    "a file more": (lambda setting: (setting.bundle / "notes").write_text("mine"), "notes: not listed"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_tampered_with_is_refused(setting: Setting, what: str) -> None:
    damage, message = TAMPERED[what]
    damage(setting)
    with pytest.raises(FmallocError, match=message) as refused:
        setting.read()
    assert str(setting.bundle) in str(refused.value)


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["folder", "FIFO", "device"]
)
def test_a_signature_is_a_plain_file_also_where_nobody_asks_for_it(
    own_bundles: Path, make: Callable[[Path], object]
) -> None:
    bundle = bundle_of(own_bundles, "it")
    make(signature_of(bundle))
    with pytest.raises(FmallocError, match=r"manifest.json.minisig: (is a link|expected a plain file)"):
        Bundle.open(bundle)


def test_packing_keeps_a_signature_and_what_it_covers(own_packed_bundles: Path, tmp_path: Path) -> None:
    key, public = pair(tmp_path)
    signed(own_packed_bundles, key)
    bundle = bundle_of(own_packed_bundles, "it")
    before = signature_of(bundle).read_bytes()
    assert Bundle.open(bundle).packed
    unpacked(own_packed_bundles)
    assert not Bundle.open(bundle).packed and Bundle.read(bundle, trusting(public)).signed
    packed(own_packed_bundles)
    (delta,) = bundle.glob("model/*.delta")
    assert signature_of(bundle).read_bytes() == before
    content = bytearray(delta.read_bytes())
    content[-1] ^= 1
    delta.write_bytes(content)
    found = Bundle.read(bundle, trusting(public))
    with pytest.raises(FmallocError, match="the delta was changed"):
        found.verify()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no public key as minisign writes it"),
        (PUBLISHED_KEY.encode(), "no public key as minisign writes it"),
        (f"comment: x\n{PUBLISHED_KEY}\n".encode(), "no public key as minisign writes it"),
        (f"untrusted comment: x\n{PUBLISHED_KEY[:-4]}\n".encode(), "no public key as minisign writes it"),
        (f"untrusted comment: x\nRWR{PUBLISHED_KEY[3:]}\n".encode(), None),
        (f"untrusted comment: x\nRUQ{PUBLISHED_KEY[3:]}\n".encode(), "invalid signature algorithm"),
        (f"untrusted comment: x\n{PUBLISHED_KEY}\n\n".encode(), "no public key as minisign writes it"),
        (f"untrusted comment: x\r\n{PUBLISHED_KEY}\r\n".encode(), "not exactly as minisign writes it"),
        (f"untrusted comment: \x1b[31m\n{PUBLISHED_KEY}\n".encode(), "unprintable"),
    ],
)
def test_public_keys_are_read_strictly(tmp_path: Path, content: bytes, message: str | None) -> None:
    (tmp_path / "a.pub").write_bytes(content)
    if message is None:
        assert trusting(tmp_path / "a.pub")
        return
    with pytest.raises(FmallocError, match=message) as refused:
        trusting(tmp_path / "a.pub")
    assert f"{tmp_path / 'a.pub'}" in str(refused.value)


def test_a_secret_key_is_no_public_one_and_no_key_is_given_twice(setting: Setting) -> None:
    with pytest.raises(FmallocError, match=r"release.key: no public key"):
        trusting(setting.key)
    with pytest.raises(FmallocError, match=r"release.pub: no secret key"):
        read_secret_key(setting.public)
    with pytest.raises(FmallocError, match="is given twice, expected each key once"):
        trusting(setting.public, setting.public)
    with pytest.raises(FmallocError, match=r"absent.pub: cannot be read: No such file"):
        trusting(setting.folder / "absent.pub")


def test_minisign_itself_reads_what_is_signed_and_signs_what_is_read(setting: Setting) -> None:
    """Where its program is installed; a published signature is checked everywhere."""
    program = shutil.which("minisign") or skip_without("minisign")
    manifest = setting.bundle / "manifest.json"
    check = [program, "-Vm", str(manifest), "-p", str(setting.public)]
    done = subprocess.run(check, capture_output=True, text=True, check=True)
    assert f"bundle:{setting.bundle.name}" in done.stdout
    make = [program, "-Sm", str(manifest), "-s", str(setting.key)]
    subprocess.run(make, capture_output=True, text=True, check=True)
    found = setting.read().signed
    assert found and "bundle:" not in found.comment
