"""Store equal files of bundles once: as hard links, or as copies where the file system has none.

Links lead only to published bundles and the folder `shared`, where files are never written again.
"""

import os
import shutil
from pathlib import Path

from fmalloc_runtime.bundle.bundle import MANIFEST_FILE, Bundle, Manifest
from fmalloc_runtime.bundle.packed import SHARED_DIRECTORY
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256


def link_equal_files(bundle: Bundle, output_dir: Path, work: Path) -> None:
    """Replace files of a bundle by links to equal ones, in the bundles of `output_dir` or in itself.

    `work`: a temporary folder on the same file system.
    """
    published = _files_by_digest(output_dir)
    for name, digest in bundle.manifest.files.items():
        file = bundle.path / name
        if not file.is_file():
            continue  # packed
        # The digest is checked: a damaged file of another bundle must not get into this one.
        if (equal := published.get(digest)) and sha256(equal) == digest:
            _replace_by_link(file, equal, work / "link")
        else:
            published[digest] = file


def place(source: Path, destination: Path) -> None:
    """Create `destination` as a hard link to `source`, or as a copy if the file system has no hard links."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)


def _files_by_digest(output_dir: Path) -> dict[str, Path]:
    found = {path.name: path for path in (output_dir / SHARED_DIRECTORY).glob("*") if path.is_file()}
    for manifest in sorted(output_dir.glob(f"*@*/{MANIFEST_FILE}")):
        try:
            digests = Manifest.read(manifest).files
        except FmallocError:
            continue  # opening that bundle reports it
        for name, digest in digests.items():
            if (file := manifest.parent / name).is_file():
                found.setdefault(digest, file)
    return found


def _replace_by_link(file: Path, equal: Path, link: Path) -> None:
    # Renaming does nothing if both names are links to the same file.
    if file.samefile(equal):
        return
    try:
        os.link(equal, link)
    except OSError:
        return
    link.replace(file)
