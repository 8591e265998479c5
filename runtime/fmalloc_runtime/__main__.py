"""fmalloc-translate and fmalloc-serve."""

import click

from fmalloc_runtime.commands import serve, translate

__all__ = ["main", "serve", "translate"]


@click.group()
def main() -> None:
    """Serve compiled domains."""


main.add_command(translate, "translate")
main.add_command(serve, "serve")

if __name__ == "__main__":
    main(prog_name="python -m fmalloc_runtime")
