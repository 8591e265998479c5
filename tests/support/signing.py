"""Pairs of keys, and bundles that they sign, as the commands make them."""

from pathlib import Path

from fmalloc_export.bundles.signing import generate_keys, sign_bundles
from fmalloc_runtime.bundle.bundle import SIGNATURE_FILE
from fmalloc_runtime.bundle.signature import TrustedKeys


def no_password() -> str:
    raise AssertionError("no password was expected to be asked for")


def pair(folder: Path, name: str = "release") -> tuple[Path, Path]:
    """A new secret and public key."""
    generate_keys(folder / name, None)
    return folder / f"{name}.key", folder / f"{name}.pub"


def signed(path: Path, key: Path, *, force: bool = False) -> Path:
    """The bundle, or directory of bundles, signed."""
    sign_bundles([path], key, no_password, force=force, dry_run=False)
    return path


def signature_of(bundle: Path) -> Path:
    return bundle / SIGNATURE_FILE


def trusting(*public: Path) -> TrustedKeys:
    return TrustedKeys.read(public)
