"""Work folders: the state of a step that is under way, for these settings and data alone."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmalloc.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically


def claim_work(work: Path, settings: Mapping[str, Any], *, keep: bool = False) -> None:
    """Make a work folder; what a run with other settings or data left there is dropped, not mixed in.

    Raises:
        FmallocError: with `keep`, instead of dropping it.
    """
    file = work / "settings.json"
    text = json.dumps(settings, indent=1, sort_keys=True)
    if work.exists() and not (file.is_file() and file.read_text(encoding="utf-8") == text):
        if keep:
            raise FmallocError(f"{work.name}: was begun with other settings or data; restore them to finish it")
        console.print(f"{work.name}: settings or data changed since the last run, this step starts anew")
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text.encode())
