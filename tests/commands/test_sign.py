"""fmalloc keys generate and sign, and the commands that ask for a signature."""

import base64
import shutil
import stat
import time
from pathlib import Path

import minisign
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fmalloc_export.bundles.publish import publish, writing
from fmalloc_export.triton.repository import write_triton_repository
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_shared.commands.verbs import main
from tests.support.bundles import bundle_of, make_live, write_bundle
from tests.support.server_process import serving
from tests.support.signing import pair, signature_of, signed, trusting


def run(*arguments: object, input: str | None = None) -> Result:
    result = CliRunner().invoke(main, list(map(str, arguments)), input=input)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def test_a_bundle_from_the_key_to_the_server(own_bundles: Path, tmp_path: Path) -> None:
    name = tmp_path / "release"
    result = run("keys", "generate", name)
    assert result.exit_code == 0, result.output
    identity = trusting(tmp_path / "release.pub").ids
    assert result.output.startswith(f"key {identity}\n")
    assert stat.S_IMODE((tmp_path / "release.key").stat().st_mode) == 0o600
    digests = {path: Bundle.open(path).manifest for path in own_bundles.glob("*@*")}
    refused = run("verify", own_bundles, "--trusted-keys", tmp_path / "release.pub")
    assert refused.exit_code == 2
    assert f"is not signed (no manifest.json.minisig), but has to be by {identity}" in refused.output
    dry = run("keys", "sign", own_bundles, "--key", tmp_path / "release.key", "--dry-run")
    assert dry.exit_code == 0 and dry.output.count(f": would be signed by {identity}\n") == 3
    assert not [*own_bundles.glob("*@*/*.minisig")]
    for said in (f": signed by {identity}\n", f": signed by {identity} already\n"):
        result = run("keys", "sign", own_bundles, "--key", tmp_path / "release.key")
        assert result.exit_code == 0 and result.output.count(said) == 3, result.output
    assert {path: Bundle.open(path).manifest for path in own_bundles.glob("*@*")} == digests
    assert not [*own_bundles.glob(".building-*")]
    result = run("verify", own_bundles, "--trusted-keys", f"{tmp_path / 'release.pub'}")
    assert result.exit_code == 0 and result.output.count(f"  signature    by {identity}: timestamp:") == 3
    assert "there is one; --trusted-keys tells whether it holds" in run("verify", own_bundles).output
    check = run("serve", own_bundles, "--check", "--device", "cpu", "--trusted-keys", tmp_path / "release.pub")
    assert check.exit_code == 0 and check.output.count(f"verified, signed by {identity}\n") == 3


def test_a_password(own_bundles: Path, tmp_path: Path) -> None:
    result = run("keys", "generate", tmp_path / "a", "--password", input="word\nword\n")
    assert result.exit_code == 0, result.output
    assert "encrypted secret key" in (tmp_path / "a.key").read_text()
    wrong = run("keys", "sign", own_bundles, "--key", tmp_path / "a.key", input="other\n")
    assert wrong.exit_code == 2 and "a.key: wrong password for that key" in wrong.output
    assert run("keys", "sign", own_bundles, "--key", tmp_path / "a.key", input="word\n").exit_code == 0
    assert run("verify", own_bundles, "--trusted-keys", tmp_path / "a.pub").exit_code == 0


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    pair(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    result = run("keys", "generate", tmp_path / "release")
    assert result.exit_code == 2 and "release.key: exists; a key is never written over" in result.output
    (tmp_path / "release.key").unlink()
    assert run("keys", "generate", tmp_path / "release").exit_code == 2
    (tmp_path / "release.key").symlink_to("nowhere")
    assert run("keys", "generate", tmp_path / "release").exit_code == 2
    assert (tmp_path / "release.pub").read_bytes() == before[tmp_path / "release.pub"]
    for name in ("no/folder", ".hidden", "a b", "ü"):
        assert run("keys", "generate", tmp_path / name).exit_code == 2


def test_only_what_is_whole_is_signed(own_bundles: Path, tmp_path: Path) -> None:
    key, _ = pair(tmp_path)
    golden = bundle_of(own_bundles, "kitchen") / "golden.jsonl"
    golden.write_bytes(golden.read_bytes() + b"\n")
    result = run("keys", "sign", own_bundles, "--key", key)
    assert result.exit_code == 2 and "golden.jsonl: sha256 is" in result.output
    assert not [*own_bundles.glob("*@*/*.minisig")]
    result = run("keys", "sign", bundle_of(own_bundles, "it"), bundle_of(own_bundles, "general"), "--key", key)
    assert result.exit_code == 0 and len([*own_bundles.glob("*@*/*.minisig")]) == 2
    assert run("keys", "sign", tmp_path, "--key", key).exit_code == 2
    assert run("keys", "sign", own_bundles, "--key", tmp_path / "absent").exit_code == 2


def test_another_signature_is_kept_unless_forced(own_bundles: Path, tmp_path: Path) -> None:
    (key, public), (other, _) = pair(tmp_path), pair(tmp_path, "other")
    signed(bundle_of(own_bundles, "it"), other)
    before = signature_of(bundle_of(own_bundles, "it")).read_bytes()
    for options in ((), ("--dry-run",)):
        result = run("keys", "sign", own_bundles, "--key", key, *options)
        assert result.exit_code == 2 and "--force signs it anew" in result.output
        assert [path.read_bytes() for path in own_bundles.glob("*@*/*.minisig")] == [before]
    assert run("keys", "sign", own_bundles, "--key", key, "--force").exit_code == 0
    assert run("verify", own_bundles, "--trusted-keys", public).exit_code == 0


def test_what_a_signature_says_cannot_command_a_terminal(own_bundles: Path, tmp_path: Path) -> None:
    """Its owner may have written anything into the comment."""
    key, public = pair(tmp_path)
    bundle = signed(bundle_of(own_bundles, "it"), key)
    lines = signature_of(bundle).read_bytes().splitlines()
    raw = base64.b64decode(lines[1])[10:]
    secret = base64.b64decode(bytes(minisign.SecretKey.from_file(key)).splitlines()[1])[62:94]
    comment = b"\x1b[31mred\x07"
    lines[2] = b"trusted comment: " + comment
    lines[3] = base64.b64encode(Ed25519PrivateKey.from_private_bytes(secret).sign(raw + comment))
    signature_of(bundle).write_bytes(b"\n".join(lines) + b"\n")
    result = run("verify", bundle, "--trusted-keys", public)
    assert result.exit_code == 0 and "\\u001b[31mred\\u0007" in result.output and "\x1b" not in result.output


def test_what_is_written_again_keeps_its_signature_and_so_does_a_copy(own_bundles: Path, tmp_path: Path) -> None:
    key, public = pair(tmp_path)
    signed(own_bundles, key)
    bundle = bundle_of(own_bundles, "it")
    again = tmp_path / "work" / bundle.name
    shutil.copytree(bundle, again, ignore=shutil.ignore_patterns("*.minisig"))
    (bundle / "golden.jsonl").write_bytes(b"")
    with writing(own_bundles):
        assert publish(Bundle.read(again), own_bundles, force=True)
    for packing in ("--pack", "--unpack"):
        assert run("bundles", own_bundles, packing).exit_code == 0
        assert run("verify", own_bundles, "--trusted-keys", public).exit_code == 0
    write_triton_repository(own_bundles, tmp_path / "repository")
    (copied,) = (tmp_path / "repository" / "it" / "1").glob("it@*")
    assert Bundle.read(copied, trusting(public)).signed


@pytest.mark.parametrize("named", ["flag", "variable", "file"])
def test_a_server_that_trusts_refuses_to_start_with_what_is_not_signed(
    own_bundles: Path, tmp_path: Path, named: str
) -> None:
    (key, public), (_, other) = pair(tmp_path), pair(tmp_path, "other")
    signed(bundle_of(own_bundles, "it"), key)
    both = f"{public},{other}"
    (tmp_path / "serve.yaml").write_text(f"trusted_keys: ['{public}', '{other}']\n")
    flags = {"flag": ("--trusted-keys", both), "variable": (), "file": ("--config", tmp_path / "serve.yaml")}[named]
    variables = {"FMALLOC_TRUSTED_KEYS": both} if named == "variable" else {}
    arguments = ["serve", own_bundles, "--check", "--device", "cpu", *flags]
    result = CliRunner().invoke(main, list(map(str, arguments)), env=variables)
    assert result.exit_code == 2 and "general@" in result.output and "is not signed" in result.output
    signed(own_bundles, key)
    result = CliRunner().invoke(main, list(map(str, arguments)), env=variables)
    assert result.exit_code == 0 and result.output.count(", signed by ") == 3
    assert "trusted_keys" in result.output and both in result.output


def test_a_real_server_goes_on_with_the_last_good_bundle(own_bundles: Path, tmp_path: Path) -> None:
    key, public = pair(tmp_path)
    signed(own_bundles, key)
    with serving(own_bundles, "--trusted-keys", str(public), "--poll-seconds", "0.05") as server:
        status, before = server.translate("Das ist gut.", domain="it")
        assert status == 200
        new = write_bundle(own_bundles, "it", seed=9)
        domains = {**LiveIndex.of(own_bundles).domains, "it": new.name}
        make_live(own_bundles, *(own_bundles / name for name in domains.values()))
        while server.ask("GET", "/readyz")[1].get("failure") is None:
            time.sleep(0.02)
        assert server.translate("Das ist gut.", domain="it") == (200, before)
        server.process.terminate()
        _, rest = server.end()
    assert f"{new.name}: is not signed" in rest and trusting(public).ids in rest
