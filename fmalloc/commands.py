"""Entry points of the commands that need PyTorch: where it is not installed, they say what to install."""

from fmalloc_shared.command import launch


def train() -> None:
    """fmalloc-train"""
    launch("fmalloc.train", extra="train")


def pretrain() -> None:
    """fmalloc-pretrain"""
    launch("fmalloc.pretrain", extra="train")
