"""A running server, and how well it finds the domain of a text."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LINES_A_DOCUMENT = 10


@dataclass(frozen=True)
class Answer:
    """Translations of a request's lines, and the domain that they were translated as."""

    translations: list[str]
    domain: str


class Client:
    """Speaks to the server at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def translate(self, lines: Sequence[str], domain: str = "auto") -> Answer:
        """Translate lines as one document."""
        body = json.dumps({"q": list(lines), "source": "de", "target": "en", "domain": domain}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/translate", body, headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        return Answer(answer["translatedText"], answer["domain"]["name"])


@contextmanager
def served(command: Path, bundles: Path) -> Iterator[Client]:
    """Start a server on a free port; stop it at the end."""
    # Only its first line is read: a log of every request would fill the pipe and stop the server.
    arguments = [str(command), "serve", str(bundles), "--port", "0", "--device", "cpu", "--log-level", "warning"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        try:
            announced = server.stderr.readline()
            if "listening on " not in announced:
                raise RuntimeError(f"the server did not start: {announced}{server.stderr.read()}")
            yield Client(announced.split()[-1])
        finally:
            server.terminate()


def documents(lines: Sequence[str], size: int = LINES_A_DOCUMENT) -> list[Sequence[str]]:
    """Lines in groups of `size`; a shorter rest is left out."""
    return [lines[start : start + size] for start in range(0, len(lines) - size + 1, size)]


def routing_accuracy(client: Client, texts: Mapping[str, Sequence[str]], size: int) -> dict[str, float]:
    """By domain, the share of its documents of `size` lines that are routed to it."""
    accuracy = {}
    for domain, lines in texts.items():
        groups = documents(lines, size)
        accuracy[domain] = sum(client.translate(group).domain == domain for group in groups) / len(groups)
    return accuracy


def translations(client: Client, lines: Sequence[str], domain: str) -> list[str]:
    """Translate line groups one by one as `domain`, or each as what the router takes it for (auto)."""
    return [text for group in documents(lines) for text in client.translate(group, domain).translations]
