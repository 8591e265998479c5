"""A process that holds the models of many domains: `python -m benchmarks.scoreboard.domains.process`.

It reads one JSON object from standard input, with contestants and the domain of each line, and prints what it measured.
"""

import json
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

from fmalloc_export.bench.runner import contestant_of, resident_bytes

_SWITCHES = 5


def main() -> None:
    """Measure."""
    given = json.load(sys.stdin)
    with redirect_stdout(sys.stderr):
        found = measure(given["contestants"], given["documents"], given["repeats"])
    print(json.dumps(found))


def measure(contestants: Sequence[dict[str, Any]], documents: Sequence[dict[str, Any]], repeats: int) -> dict[str, Any]:
    """Memory with all models loaded, seconds of the documents in turn, and of a sentence with and without loading.

    Documents name the place of their domain in `contestants`, and are translated one after another.
    """
    models = [contestant_of(fields).load() for fields in contestants]
    line = documents[0]["lines"][:1]
    for model in models:
        model.translate(line)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        for document in documents:
            models[document["domain"]].translate(document["lines"])
        seconds.append(time.perf_counter() - began)
    resident, loaded, switched = resident_bytes(), [], []
    for number in range(_SWITCHES):
        place = number % len(models)
        began = time.perf_counter()
        models[place].translate(line)
        loaded.append(time.perf_counter() - began)
        began = time.perf_counter()
        contestant_of(contestants[place]).load().translate(line)
        switched.append(time.perf_counter() - began)
    return {
        "resident_bytes": resident,
        "seconds": seconds,
        "switch_seconds": statistics.median(switched) - statistics.median(loaded),
    }


if __name__ == "__main__":
    main()
