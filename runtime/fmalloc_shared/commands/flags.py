"""Options of several commands: a flag has the same spelling, type and meaning everywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)
COUNT = click.IntRange(min=1)

_FLAGS: dict[str, dict[str, Any]] = {
    "--beam-size": {"type": click.IntRange(1, 64), "default": 4, "help": "Width of the beam search; 1 is greedy."},
    "--bundles": {"type": PATH, "default": Path("bundles"), "help": "Directory of bundles, with live.json."},
    "--device": {
        "type": click.Choice(["auto", "cpu", "cuda"]),
        "default": "auto",
        "help": "Where to compute; auto takes a GPU if there is one.",
    },
    "--dry-run": {"is_flag": True, "help": "Check every input, say what would be done, and stop."},
    "--force": {"is_flag": True, "help": "Write over what is there."},
    "--json": {"is_flag": True, "help": "Print JSON, for programs."},
    "--output": {"type": PATH, "help": "File to write."},
    "--output-dir": {"type": PATH, "help": "Directory to write to."},
    "--sentences": {"type": COUNT, "help": "Sentences per text that are translated."},
    "--source": {"metavar": "LANGUAGE", "help": "Source language, such as de."},
    "--store": {"type": PATH, "default": Path("store"), "help": "Memory store."},
    "--target": {"metavar": "LANGUAGE", "help": "Target language, such as en."},
    "--threads": {"type": click.IntRange(min=0), "default": 0, "help": "CPU threads; 0 is the engine's choice."},
    "--updates": {"type": COUNT, "help": "Most updates of the parameters."},
}


def flag(name: str, *names: str, **changes: Any) -> Callable[[Any], Any]:
    """A click option of several commands; `changes` adapt its default or its help to one of them.

    `names`: as click.option takes them, such as the name of the function's parameter.
    """
    return click.option(name, *names, **{**_FLAGS[name], **changes})
