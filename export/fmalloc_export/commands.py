"""Entry point of fmalloc-export: where PyTorch is not installed, it says what to install."""

from fmalloc_shared.command import launch


def export() -> None:
    """fmalloc-export"""
    launch("fmalloc_export.__main__", extra="export")
