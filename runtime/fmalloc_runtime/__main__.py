"""fmalloc-translate and fmalloc-serve."""

import socket
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import click

from fmalloc_runtime.engine import TranslationOptions
from fmalloc_runtime.errors import InputTooLongError
from fmalloc_runtime.registry import Registry, Snapshot
from fmalloc_runtime.router import AUTO, Route
from fmalloc_runtime.translator import EngineSettings
from fmalloc_shared.command import Command
from fmalloc_shared.errors import FmallocError

_CHUNK_LINES = 256
_threads = click.option(
    "--threads", type=click.IntRange(min=0), default=0, help="CPU threads (0: the engine's choice)."
)
_device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto takes a GPU if there is one.",
)


@click.command(cls=Command)
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--bundles",
    type=click.Path(path_type=Path),
    default=Path("bundles"),
    show_default=True,
    help="The directory with live.json.",
)
@click.option("--domain", default=AUTO, show_default=True, help="A domain, or auto: detected over the whole input.")
@click.option("--beam-size", type=click.IntRange(min=1), default=4, show_default=True)
@_threads
@_device
def translate(file: BinaryIO, bundles: Path, domain: str, beam_size: int, threads: int, device: str) -> None:
    """Translate FILE or standard input, one sentence a line, UTF-8.

    The domain and why it was chosen go to standard error. Lines for a named domain are translated 256 at a time;
    with auto, the whole input is read first.

    \b
    fmalloc-translate --bundles bundles --domain auto < in.txt > out.txt
    echo "Klicken Sie auf die Maus." | fmalloc-translate --domain it
    """
    snapshot = Registry(bundles, EngineSettings(device, intra_threads=threads)).load()
    lines = _read_lines(file)
    if domain == AUTO:
        everything = list(lines)
        route = snapshot.router.route([line for line, _ in everything])
        lines = iter(everything)
    else:
        route = snapshot.router.route([], domain)
    _show(route)
    output = sys.stdout.buffer
    done = 0
    while chunk := list(islice(lines, _CHUNK_LINES)):
        for text, end in _translate_chunk(snapshot, route, chunk, TranslationOptions(beam_size), done):
            output.write(text.encode() + end)
        output.flush()
        done += len(chunk)


@click.command(cls=Command)
@click.argument("bundles", type=click.Path(path_type=Path), default=Path("bundles"))
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 listens on every network.")
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True, help="0 takes a free one.")
@click.option("--body-limit", type=click.IntRange(min=1), default=2 * 2**20, show_default=True, help="Bytes a request.")
@click.option(
    "--text-limit", type=click.IntRange(min=1), default=200_000, show_default=True, help="Characters a request."
)
@_threads
@_device
def serve(bundles: Path, host: str, port: int, body_limit: int, text_limit: int, threads: int, device: str) -> None:
    """Serve the bundles that BUNDLES/live.json names (default: ./bundles) over HTTP.

    \b
    fmalloc-serve bundles --port 5000
    curl localhost:5000/translate -H 'Content-Type: application/json' \\
         -d '{"q": "Guten Tag.", "source": "de", "target": "en", "domain": "auto"}'
    """
    import uvicorn

    from fmalloc_runtime.app import create_app
    from fmalloc_runtime.requests import Limits

    registry = Registry(bundles, EngineSettings(device, intra_threads=threads))
    registry.load()
    listener = _listen(host, port)
    click.echo(f"listening on http://{host}:{listener.getsockname()[1]}", err=True)
    app = create_app(registry, Limits(body_limit, text_limit))
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


@click.group()
def main() -> None:
    """Serve compiled domains."""


main.add_command(translate, "translate")
main.add_command(serve, "serve")


def _read_lines(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Lines and their ends; FmallocError with the line's number if one is not UTF-8."""
    for number, raw in enumerate(file, start=1):
        content = raw.rstrip(b"\r\n")
        try:
            line = content.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            name = getattr(file, "name", "<stdin>")
            raise FmallocError(
                f"{name}:{number}: byte 0x{content[error.start]:02x} at column {error.start + 1} is not UTF-8: "
                "convert the input to UTF-8 first"
            ) from error
        yield line, raw[len(content) :]


def _translate_chunk(
    snapshot: Snapshot, route: Route, chunk: list[tuple[str, bytes]], options: TranslationOptions, done: int
) -> Iterator[tuple[str, bytes]]:
    try:
        translations = snapshot.translators[route.domain].translate([line for line, _ in chunk], options)
    except InputTooLongError as error:
        raise FmallocError(f"line {done + error.index + 1}: {error}") from error
    for translation, (_, end) in zip(translations, chunk, strict=True):
        yield translation.text, end


def _show(route: Route) -> None:
    scores = ", ".join(f"{name} {score:.2f}" for name, score in sorted(route.scores.items()))
    click.echo(f"domain {route.domain} ({route.reason}); {scores}; bundle {route.bundle}", err=True)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise FmallocError(f"cannot listen on {host}:{port}: {error.strerror}: choose another --port") from error


if __name__ == "__main__":
    main(prog_name="python -m fmalloc_runtime")
