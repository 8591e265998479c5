"""Signatures of bundles, as minisign makes them: by Ed25519, of the BLAKE2b digest of manifest.json.

The manifest has the SHA-256 of every other file, and a packed file is one of them once it is restored: one signature
covers a bundle in either form. https://jedisct1.github.io/minisign describes the format.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, SupportsBytes, TypeVar

from fmalloc_runtime.bundle.manifest import MANIFEST_FILE
from fmalloc_shared.commands.command import needs
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import read_small

if TYPE_CHECKING:
    from minisign import PublicKey, SecretKey, Signature

_Parsed = TypeVar("_Parsed", bound=SupportsBytes)
SIGNATURE_FILE = f"{MANIFEST_FILE}.minisig"
EXTRA = "sign"
# Signatures and keys have 4 lines at most, and the longest comment that minisign writes has 8 KiB.
_MOST = 2**15


@dataclass(frozen=True)
class Signed:
    """A signature that holds: the id of its key, and the comment that it covers too."""

    key: str
    comment: str


class TrustedKeys:
    """Public keys of those whose bundles are accepted."""

    def __init__(self, keys: Sequence["PublicKey"]) -> None:
        """FmallocError if there is none, or if two have the same id."""
        self._keys: dict[str, PublicKey] = {}
        for key in keys:
            if self._keys.setdefault(key_id(key), key) is not key:
                raise FmallocError(f"trusted keys: {key_id(key)} is given twice, expected each key once")
        if not self._keys:
            raise FmallocError("trusted keys: expected a file of a public key, found none")

    @classmethod
    def read(cls, paths: Sequence[Path]) -> "TrustedKeys":
        """Of files of public keys, as minisign and `fmalloc keys generate` write them; FmallocError if one is not."""
        return cls([read_public_key(path) for path in paths])

    @property
    def ids(self) -> str:
        """Of all keys, for messages."""
        return ", ".join(sorted(self._keys))

    def check(self, bundle: Path, manifest: bytes) -> Signed:
        """See that one of the keys signed the bundle in the folder `bundle`, whose manifest.json has this content.

        Raises FmallocError, which names the bundle, the key and what is wrong, unless that is so.
        """
        from minisign import VerifyError

        path = bundle / SIGNATURE_FILE
        if not path.is_symlink() and not path.exists():
            raise FmallocError(f"{bundle}: is not signed (no {SIGNATURE_FILE}), but has to be by {self.ids}")
        signature = _read_signature(path)
        identity = key_id(signature)
        if identity not in self._keys:
            raise FmallocError(f"{path}: signed by key {identity}, which is not trusted; trusted: {self.ids}")
        try:
            self._keys[identity].verify(manifest, signature)
        except VerifyError as error:
            raise FmallocError(
                f"{path}: is no signature by key {identity} of this {MANIFEST_FILE}: one of the two was changed, or it "
                "belongs to another bundle"
            ) from error
        return Signed(identity, signature.trusted_comment)


def read_public_key(path: Path) -> "PublicKey":
    """A public key from its file; FmallocError unless it is two lines as minisign writes them."""
    needs("minisign", extra=EXTRA)
    from minisign import PublicKey

    return _read(path, PublicKey.from_bytes, "public key")


def read_secret_key(path: Path) -> "SecretKey":
    """A secret key from its file, which may be encrypted still; FmallocError unless minisign would write it so."""
    needs("minisign", extra=EXTRA)
    from minisign import SecretKey

    return _read(path, SecretKey.from_bytes, "secret key")


def key_id(key: "PublicKey | Signature") -> str:
    """The id of a key, or of that which made a signature, as minisign shows it: 16 hex digits."""
    line = bytes(key).split(b"\n")[1]
    # Two bytes of the algorithm, then a number of eight bytes, the lowest first.
    return base64.b64decode(line)[2:10][::-1].hex().upper()


def _read_signature(path: Path) -> "Signature":
    from minisign import Signature

    if path.is_symlink():
        raise FmallocError(f"{path}: is a link, expected the file itself, which nothing outside can change")
    signature = _read(path, Signature.from_bytes, "signature")
    if not signature.is_prehashed():
        raise FmallocError(
            f"{path}: signs the file itself (algorithm Ed), expected its digest (ED): sign it without --legacy"
        )
    return signature


def _read(path: Path, parse: Callable[[bytes], _Parsed], what: str) -> _Parsed:
    """Only one spelling of a key or signature is read: what no program writes is nobody's."""
    from minisign import Error

    content = read_small(path, _MOST)
    try:
        found = parse(content)
    except Error as error:
        raise FmallocError(f"{path}: no {what} as minisign writes it: {error}") from error
    if content not in (bytes(found), bytes(found) + b"\n"):
        raise FmallocError(f"{path}: not exactly as minisign writes it: lines end in \\n, and nothing follows the last")
    return found
