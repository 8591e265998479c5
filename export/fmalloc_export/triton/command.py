"""fmalloc triton: lay out compiled domains for NVIDIA Triton."""

from pathlib import Path
from typing import Literal

import click

from fmalloc_export.triton.options import ROUTER, TritonOptions
from fmalloc_shared.command import Command

_PATH = click.Path(path_type=Path)
_COUNT = click.IntRange(min=1)


@click.command(cls=Command)
@click.argument("bundles", type=_PATH, default=Path("bundles"))
@click.option(
    "--output_dir", "--output-dir", type=_PATH, default=Path("triton"), show_default=True, help="The model repository."
)
@click.option("--force", is_flag=True, help="Bring a model repository that is there up to date.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--instances", type=_COUNT, default=1, show_default=True, help="Processes of each domain; on GPUs, of each on each."
)
@click.option("--threads", type=_COUNT, default=1, show_default=True, help="CPU threads of each.")
@click.option("--batch-texts", type=_COUNT, default=256, show_default=True, help="Most texts in a batch or request.")
@click.option(
    "--queue-seconds",
    type=click.FloatRange(0, 60),
    default=0.003,
    show_default=True,
    help="How long a batch waits for company.",
)
@click.option(
    "--queue-requests", type=_COUNT, default=1024, show_default=True, help="May wait for a model; beyond, refused."
)
@click.option("--router", default=ROUTER, show_default=True, help="Name of the model that routes.")
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
    """Write what BUNDLES/live.json names (default: ./bundles) as a model repository of NVIDIA Triton.

    Every domain becomes a model with the bundle inside; one more model routes between them. All need fmalloc
    installed where Triton runs. With --force, what changed in one that is there gets the next version.

    \b
    fmalloc triton bundles --output_dir repository
    tritonserver --model-repository=repository
    """
    from fmalloc_export.triton.repository import write_triton_repository

    options = TritonOptions(device, instances, threads, batch_texts, queue_seconds, queue_requests, router)
    for model, version in write_triton_repository(bundles, output_dir, options, force=force).items():
        click.echo(f"{output_dir / model}: version {version}")
