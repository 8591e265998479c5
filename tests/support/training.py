"""Recipes on the tiny base, learned by a process of their own."""

import sys
from pathlib import Path

import yaml

from fmalloc_shared.files import sha256_files
from tests.support.corpora import small_recipe


def write_recipe(path: Path, base: Path, corpora: Path, store: Path, *tasks: str, **learning: object) -> Path:
    content = small_recipe(base, corpora, store, *tasks, **learning).model_dump(mode="json", exclude_none=True)
    path.write_text(yaml.safe_dump(content))
    return path


def command(recipe: Path) -> list[str]:
    return [sys.executable, "-m", "fmalloc", "train", str(recipe)]


def learned_bytes(store: Path) -> dict[str, str]:
    """Digests of all that a store promises to keep."""
    return {name: digest for name, digest in sha256_files(store).items() if not name.startswith(".")}
