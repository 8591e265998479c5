"""`fmalloc triton`: its options."""

from pathlib import Path
from typing import Literal

import click

from fmalloc_export.triton.options import ROUTER, TritonOptions
from fmalloc_shared.commands.command import Command, echo
from fmalloc_shared.commands.flags import COUNT, PATH, flag


@click.command("triton", cls=Command)
@click.argument("bundles", type=PATH, default=Path("bundles"))
@flag("--output-dir", default=Path("triton"), help="Model repository to write.")
@flag("--force", help="Bring a model repository that is there up to date.")
@flag("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where Triton computes.")
@click.option("--instances", type=COUNT, default=1, help="Processes per domain; on GPUs, per domain and GPU.")
@flag("--threads", type=COUNT, default=1, help="CPU threads per process.")
@click.option("--batch-texts", type=COUNT, default=256, help="Most texts per batch, and so per request.")
@click.option(
    "--queue-seconds", type=click.FloatRange(0, 60), default=0.003, help="Maximum batching delay, in seconds."
)
@click.option(
    "--queue-requests", type=COUNT, default=1024, help="Most requests that wait for a model; others are refused."
)
@click.option("--router", default=ROUTER, metavar="NAME", help="Name of the model that routes.")
def triton(
    bundles: Path,
    output_dir: Path,
    force: bool,
    device: Literal["cpu", "cuda"],
    instances: int,
    threads: int,
    batch_texts: int,
    queue_seconds: float,
    queue_requests: int,
    router: str,
) -> None:
    """Lay out live bundles for NVIDIA Triton.

    Every domain that BUNDLES/live.json names becomes a model with its bundle inside; one more model routes between
    them. With --force, a model that changed gets the next version. BUNDLES is ./bundles by default.

    It needs a directory of bundles, and fmalloc installed where Triton runs.

    \b
    Example:
      fmalloc triton bundles --output-dir repository
      tritonserver --model-repository=repository
    """
    from fmalloc_export.triton.repository import write_triton_repository

    options = TritonOptions(device, instances, threads, batch_texts, queue_seconds, queue_requests, router)
    for model, version in write_triton_repository(bundles, output_dir, options, force=force).items():
        echo(f"{output_dir / model}: version {version}")
