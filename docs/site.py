"""The documentation as a site in .work/site/html: `make docs`. A dead link or anchor is an error.

Pages are the Markdown files of the repository with their links turned to where the pages and files are, and a page of
all commands that is made from the commands.
"""

import os
import re
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from docs.reference import command_page
from fmalloc_shared import __version__
from fmalloc_shared.commands.verbs import main as commands

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".work" / "site"
SOURCE = WORK / "source"
# Name of the page: its file in the repository.
PAGES = {path.stem: path for path in sorted((ROOT / "docs").glob("*.md"))} | {
    "index": ROOT / "README.md",
    "measuring": ROOT / "benchmarks" / "README.md",
    "changelog": ROOT / "CHANGELOG.md",
}
CONTENTS = {
    "Guides": ("learning", "lifecycle", "compiler", "serving", "translators", "scaling"),
    "Reference": ("commands", "formats", "security", "architecture"),
    "Evidence": (
        "results",
        *(name for name in ("experiment", "benchmarks") if name in PAGES),
        "measuring",
        "decisions",
        "changelog",
    ),
}
SETTINGS = {
    "project": "fmalloc",
    "smartquotes": False,
    "extensions": ["myst_parser"],
    "myst_heading_anchors": 4,
    "html_theme": "furo",
    "html_title": f"fmalloc {__version__}",
    "html_show_copyright": False,
    "html_copy_source": False,
    "html_show_sourcelink": False,
}
_LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s#]*)(?P<anchor>#[^()\s]*)?\)")
_CODE = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)


def with_site_links(page: Path) -> str:
    """The page's text with links to other pages and to files as they are from the site's source folder."""
    names = {path: name for name, path in PAGES.items()}

    def link(found: re.Match[str]) -> str:
        target = (page.parent / found["target"]).resolve()
        if not found["target"] or ":" in found["target"]:
            return found[0]
        if target.is_dir():
            return found["text"]
        place = f"{names[target]}.md" if target in names else os.path.relpath(target, SOURCE)
        return f"[{found['text']}]({place}{found['anchor'] or ''})"

    pieces = _CODE.split(page.read_text(encoding="utf-8"))
    pieces[::2] = [_LINK.sub(link, piece) for piece in pieces[::2]]
    return "".join(pieces)


def contents() -> str:
    """The navigation."""
    trees = [
        ["```{toctree}", ":hidden:", f":caption: {caption}", "", *names, "```"] for caption, names in CONTENTS.items()
    ]
    return "".join(f"\n{line}" for tree in trees for line in ["", *tree]) + "\n"


def build() -> int:
    """Write the site; returns the exit status."""
    shutil.rmtree(WORK, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    for name, path in PAGES.items():
        (SOURCE / f"{name}.md").write_text(with_site_links(path), encoding="utf-8")
    (SOURCE / "commands.md").write_text(command_page(commands, "fmalloc"), encoding="utf-8")
    with (SOURCE / "index.md").open("a", encoding="utf-8") as index:
        index.write(contents())
    html = WORK / "html"
    with patch_docutils(None), docutils_namespace():
        app = Sphinx(SOURCE, None, html, WORK / "cache", "html", SETTINGS, status=None, warningiserror=True)
        app.build()
    print(f"{html / 'index.html'}")
    return app.statuscode


if __name__ == "__main__":
    sys.exit(build())
