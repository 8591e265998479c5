"""Subcommands of `fmalloc` for those who serve; what they do is imported when they run, so that help comes at once."""

from pathlib import Path

import click

from fmalloc_shared.command import Command

_PATH = click.Path(path_type=Path)
_keys_file = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("keys.json"),
    show_default=True,
    help="The file of keys, as fmalloc-serve --keys reads it.",
)


@click.group()
def keys() -> None:
    """Make and remove the API keys that fmalloc-serve --keys asks for.

    \b
    fmalloc keys add weblate --file keys.json --characters 5000000
    fmalloc-serve bundles --keys keys.json

    A running server takes a changed file over within a second.
    """


@keys.command(cls=Command)
@click.argument("name")
@_keys_file
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="Instead of the server's.")
@click.option("--characters-per-minute", type=click.IntRange(min=1), help="Instead of the server's.")
@click.option("--characters", type=click.IntRange(min=1), help="At most so many a month (UTC).")
def add(name: str, path: Path, **limits: int | None) -> None:
    """Make a key for the client NAME and print it: it is shown this once, the file keeps its digest only."""
    from fmalloc_runtime.access.keys import add_key

    click.echo(add_key(path, name, limits))


@keys.command("list", cls=Command)
@_keys_file
def list_(path: Path) -> None:
    """Show clients and their limits."""
    from fmalloc_runtime.access.keys import KeyFile

    for entry in KeyFile.read(path).keys:
        limits = entry.model_dump(exclude={"name", "sha256"}, exclude_none=True)
        listed = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in limits.items())
        click.echo(f"{entry.name}  {listed or 'the limits of the server'}")


@keys.command(cls=Command)
@click.argument("name")
@_keys_file
def remove(name: str, path: Path) -> None:
    """Remove the key of the client NAME."""
    from fmalloc_runtime.access.keys import remove_key

    remove_key(path, name)


@click.command(cls=Command)
@click.argument("bundles", type=click.Path(path_type=Path), default=Path("bundles"))
@click.option("--json", "as_json", is_flag=True, help="JSON for programs.")
def doctor(bundles: Path, as_json: bool) -> None:
    """Tell what is wrong with this installation, and what to do about it.

    Looks at engines, CPU, memory, CUDA and the live bundles in BUNDLES. Exits with 1 if it cannot serve.
    """
    from fmalloc_runtime.diagnosis import bundles as live
    from fmalloc_runtime.diagnosis import engines, machine
    from fmalloc_runtime.diagnosis.doctor import examine, serves, show, to_json

    findings = examine([*machine.checks(), *engines.checks(), *live.checks(bundles)])
    if as_json:
        click.echo(to_json(findings))
    else:
        show(findings)
    if not serves(findings):
        raise click.exceptions.Exit(1)


@click.command("route-eval", cls=Command)
@click.argument("log", type=_PATH)
@click.option("--bundles", type=_PATH, help="Route logged text again, with the bundles that are live there.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Of the posterior; else that of --bundles, or 0.6.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def route_eval(log: Path, bundles: Path | None, threshold: float | None, as_json: bool) -> None:
    """Replay the decision log LOG, which fmalloc-serve writes with --decisions.

    Where the log holds text and --bundles are given, that is routed again; elsewhere the logged scores are decided on
    again. With a routing.json beside the bundles, what decisions are expected to lose is shown too, taking the
    posteriors for true. Domains that were asked for stay as they were.

    \b
    fmalloc route-eval decisions.jsonl --threshold 0.8
    fmalloc route-eval decisions.jsonl --bundles bundles
    """
    from fmalloc_runtime.routing.replay import evaluate

    evaluate(log, bundles, threshold, as_json=as_json)
