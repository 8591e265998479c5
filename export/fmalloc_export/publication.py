"""One domain compiled and published: its bundle appears whole and, unless told otherwise, live."""

from dataclasses import dataclass
from pathlib import Path

from fmalloc_export.builder import Built, OnStep, build
from fmalloc_export.bundles.publish import publish, put_live, staging
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.student import Student
from fmalloc_export.domain.transformer import one_thread
from fmalloc_export.options import Options
from fmalloc_export.passes.text import CalibrationText
from fmalloc_runtime.bundle.bundle import Manifest


@dataclass(frozen=True)
class Exported:
    """A finished export; `written` is False if the same bundle was there already."""

    path: Path
    written: bool
    built: Built

    @property
    def manifest(self) -> Manifest:
        """Of the bundle."""
        return self.built.bundle.manifest


def export_domain(
    domain: Domain,
    output_dir: Path,
    options: Options,
    text: CalibrationText | None = None,
    student: Student | None = None,
    *,
    force: bool = False,
    live: bool = True,
    on_step: OnStep = str,
) -> Exported:
    """Write the bundle of a domain and, with `live`, put it into live.json; the caller holds `publish.writing`.

    `force` replaces a damaged bundle of the same name. Errors as of `build`, and no bundle is left then.
    """
    with staging(output_dir) as work:
        built = build(domain, options, text, student, work, on_step=on_step)
        on_step("publishing")
        return publish_built(built, output_dir, force=force, live=live)


def publish_built(built: Built, output_dir: Path, *, force: bool, live: bool) -> Exported:
    """Move a bundle into place and, with `live`, put it into live.json."""
    with one_thread():
        name = built.bundle.name
        written = publish(built.bundle, output_dir, force=force)
        if live:
            put_live(output_dir, name, replayed=written)
    return Exported(output_dir / name, written, built)
