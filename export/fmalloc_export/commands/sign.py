"""`fmalloc keys generate` and `fmalloc keys sign`: their options."""

from pathlib import Path

import click

from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.flags import PATH, flag


@click.command("generate", cls=Command, extra="sign")
@click.argument("name", type=PATH)
@click.option("--password", is_flag=True, help="Ask for a password that the secret key is encrypted with.")
def generate(name: Path, password: bool) -> None:
    """Make a pair of keys to sign bundles with.

    NAME.key is the secret one, which only its owner can read: it signs. NAME.pub is for everybody: it tells what was
    signed. Both are minisign's; a pair that `minisign -G` made does as well. Neither is ever written over.

    \b
    Example:
      fmalloc keys generate release
      fmalloc keys sign bundles --key release.key
    """
    from fmalloc_export.bundles.signing import generate_keys

    def asked() -> str:
        return str(click.prompt("password", hide_input=True, confirmation_prompt=True, err=True))

    generate_keys(name, asked if password else None)


@click.command("sign", cls=Command, extra="sign")
@click.argument("paths", metavar="PATH...", type=PATH, nargs=-1, required=True)
@click.option("--key", type=PATH, required=True, help="Secret key, as fmalloc keys generate or minisign writes it.")
@flag("--force", help="Sign what has another signature too, which is then gone.")
@flag("--dry-run")
def sign(paths: tuple[Path, ...], key: Path, force: bool, dry_run: bool) -> None:
    """Sign bundles, so that servers can tell whose they are.

    PATH is a bundle or a directory of bundles. Each is read as a whole first: only what is whole is signed. The
    signature is the file manifest.json.minisig in the bundle; name and digests stay, and packing keeps it. Whoever has
    the public key can check it: `fmalloc verify --trusted-keys`, `fmalloc serve --trusted-keys`, or
    `minisign -Vm manifest.json`.

    \b
    Example:
      fmalloc keys sign bundles --key release.key
      fmalloc verify bundles --trusted-keys release.pub
      fmalloc serve bundles --trusted-keys release.pub
    """
    from fmalloc_export.bundles.signing import sign_bundles

    def asked() -> str:
        return str(click.prompt(f"password of {key}", hide_input=True, err=True))

    sign_bundles(paths, key, asked, force=force, dry_run=dry_run)
