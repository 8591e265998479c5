"""Signatures are made: a pair of keys, and bundles that one of them signs."""

import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fmalloc_export.bundles.publish import bundle_paths, staging, writing
from fmalloc_runtime.bundle.bundle import MANIFEST_FILE, SIGNATURE_FILE, Bundle, Manifest
from fmalloc_runtime.bundle.signature import EXTRA, TrustedKeys, key_id, read_secret_key
from fmalloc_shared.commands.command import echo, needs
from fmalloc_shared.commands.outputs import check_file
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import read_small, sync_directory, write_atomically, write_private

if TYPE_CHECKING:
    from minisign import SecretKey

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
Ask = Callable[[], str]


def generate_keys(name: Path, ask: Ask | None) -> None:
    """Write a new pair of keys as NAME.key and NAME.pub, and say what it is for; `ask` gives a password, if any.

    Raises FmallocError if the name is malformed, or one of the files is there.
    """
    needs("minisign", extra=EXTRA)
    from minisign import KeyPair

    if not re.fullmatch(_NAME, name.name):
        raise FmallocError(f"{name}: use 1 to 63 of A-Z, a-z, 0-9, '.', '_' and '-', first a letter or digit")
    secret, public = name.with_name(f"{name.name}.key"), name.with_name(f"{name.name}.pub")
    for path in (secret, public):
        check_file(path)
        if os.path.lexists(path):
            raise FmallocError(f"{path}: exists; a key is never written over: choose another name")
    pair = KeyPair.generate()
    identity = key_id(pair.public_key)
    pair.public_key.untrusted_comment = f"minisign public key {identity}"
    if ask:
        pair.secret_key.encrypt(ask())
    with pair.secret_key as key:
        write_private(secret, bytes(key) + b"\n")
    write_atomically(public, bytes(pair.public_key) + b"\n")
    echo(f"key {identity}")
    echo(f"{secret}: secret, signs bundles: fmalloc keys sign bundles --key {secret}")
    echo(f"{public}: public, for those who check: fmalloc serve bundles --trusted-keys {public}")


def sign_bundles(paths: Sequence[Path], key: Path, ask: Ask, *, force: bool, dry_run: bool) -> None:
    """Sign bundles, or all in directories of bundles, that are whole, and say so; `ask` gives the key's password.

    A bundle that the key signed before stays as it is. `force`: other signatures are replaced. Raises FmallocError, and
    signs nothing in that directory, if a bundle is damaged or has another signature.
    """
    needs("minisign", extra=EXTRA)
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        for bundle in _bundles(path):
            folders[bundle.parent].append(bundle)
    with _opened(key, ask) as secret:
        signer = _Signer(secret, force)
        for folder, bundles in folders.items():
            if dry_run:
                for bundle in signer.chosen(bundles):
                    echo(f"{bundle}: would be signed by {signer.id}")
                continue
            with writing(folder):
                for bundle, manifest in signer.chosen(bundles).items():
                    signer.sign(bundle, manifest)


def _bundles(path: Path) -> list[Path]:
    if (path / MANIFEST_FILE).is_file():
        return [path]
    if not (found := bundle_paths(path)):
        raise FmallocError(f"{path}: neither a bundle nor a directory of bundles")
    return found


def _opened(path: Path, ask: Ask) -> "SecretKey":
    from minisign import Error

    key = read_secret_key(path)
    if key.is_encrypted():
        try:
            key.decrypt(ask())
        except Error as error:
            raise FmallocError(f"{path}: {error}") from error
    return key


class _Signer:
    """Signs with one key, whose id is `id`."""

    def __init__(self, key: "SecretKey", force: bool) -> None:
        public = key.get_public_key()
        self._key, self._force, self.id = key, force, key_id(public)
        self._own = TrustedKeys([public])

    def chosen(self, paths: Sequence[Path]) -> dict[Path, bytes]:
        """The manifests of the bundles that are to be signed, once all are found to be whole."""
        found, others = {}, []
        for path in paths:
            manifest = read_small(path / MANIFEST_FILE)
            if Bundle.open(path).manifest != Manifest.parse(manifest, str(path / MANIFEST_FILE)):
                raise FmallocError(f"{path}: was changed while it was read; run it again")
            try:
                self._own.check(path, manifest)
            except FmallocError as error:
                if (path / SIGNATURE_FILE).exists() and not self._force:
                    others.append(f"{error}; --force signs it anew")
                found[path] = manifest
            else:
                echo(f"{path}: signed by {self.id} already")
        if others:
            raise FmallocError("\n".join(others))
        return found

    def sign(self, bundle: Path, manifest: bytes) -> None:
        """Write the signature, whole."""
        comment = f"timestamp:{int(time.time())}\tfile:{MANIFEST_FILE}\tbundle:{bundle.name}\thashed"
        signature = self._key.sign(manifest, trusted_comment=comment)
        with staging(bundle.parent) as work:
            write_atomically(work / SIGNATURE_FILE, bytes(signature) + b"\n")
            (work / SIGNATURE_FILE).replace(bundle / SIGNATURE_FILE)
        sync_directory(bundle)
        echo(f"{bundle}: signed by {self.id}")
