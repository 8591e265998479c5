"""A process that runs a Marian model, and answers as fmalloc_export.bench.runner does.

It is run by an interpreter that has pymarian and sentencepiece, and nothing of fmalloc.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

_BATCH = 32


class Model:
    """A loaded model: pieces of SentencePiece in, pieces out."""

    def __init__(self, folder: Path, threads: int) -> None:
        import sentencepiece
        from pymarian import Translator  # type: ignore[import-not-found]

        settings = json.loads((folder / "process.json").read_text(encoding="utf-8"))
        self.source, self.target = (
            sentencepiece.SentencePieceProcessor(model_file=settings["pieces"][side]) for side in ("source", "target")
        )
        # Marian's threads take batches, and none helps another with its own.
        batch = str(-(-_BATCH // max(threads, 1)))
        vocabulary = settings["vocabulary"]
        arguments = ["-m", settings["model"], "-v", vocabulary, vocabulary, *settings["arguments"], "--quiet"]
        arguments += ["--cpu-threads", str(max(threads, 1)), "--mini-batch", batch, "--maxi-batch", "1", "-w", "256"]
        self.translator = Translator(" ".join(arguments))

    def encode(self, lines: list[str]) -> list[list[str]]:
        """Pieces of each line."""
        return [self.source.encode(line, out_type=str) for line in lines]

    def search(self, sources: list[list[str]]) -> list[list[str]]:
        """Pieces of each translation."""
        found = self.translator.translate("\n".join(" ".join(pieces) for pieces in sources))
        return [line.split() for line in found.split("\n")][: len(sources)]

    def decode(self, pieces: list[str]) -> str:
        """Text of pieces."""
        text: str = self.target.decode(pieces)
        return text


def answers(model: Model, request: dict[str, Any]) -> dict[str, Any]:
    """Of one request."""
    if "memory" in request:
        status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        resident = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))
        return {"memory": resident}
    lines, size = request["lines"], request["batch"]
    texts, seconds, read, written = [], [], [], []
    for start in range(0, len(lines), size):
        batch = lines[start : start + size]
        if "decode" in request:
            sources = model.encode(batch)
            began = time.perf_counter()
            found = model.search(sources)
            seconds.append(time.perf_counter() - began)
            read += [len(pieces) + 1 for pieces in sources]
            written += [len(pieces) + 1 for pieces in found]
        else:
            began = time.perf_counter()
            texts += [model.decode(pieces) for pieces in model.search(model.encode(batch))]
            seconds.append(time.perf_counter() - began)
    if "decode" in request:
        return {"sources": read, "targets": written, "seconds": seconds}
    return {"texts": texts, "seconds": seconds}


def main() -> None:
    """Serve standard input."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever Marian prints
    first = json.loads(sys.stdin.readline())
    fields = first["contestant"]
    began = time.perf_counter()
    model = Model(Path(fields["path"]), fields["threads"])
    loaded = time.perf_counter()
    model.search(model.encode([first["first"]]))
    reply = {"load": loaded - began, "first": time.perf_counter() - loaded}
    while True:
        print(json.dumps(reply), file=output, flush=True)
        if not (line := sys.stdin.readline()):
            return
        reply = answers(model, json.loads(line))


if __name__ == "__main__":
    main()
