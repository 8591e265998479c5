"""The command `fmalloc`: its subcommands are entry points of the packages that they belong to, loaded when needed."""

from importlib.metadata import EntryPoint, distributions

import click

DISTRIBUTION = "fmalloc"
ENTRY_POINTS = "fmalloc.commands"


class EntryPointGroup(click.Group):
    """A group of the commands that this distribution registers under ENTRY_POINTS."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Their names, sorted."""
        return sorted(_registered())

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """The command of this name; None if there is none."""
        found = _registered().get(name)
        if found is None:
            return None
        command = found.load()
        assert isinstance(command, click.Command), f"{found.value} is no click command"
        return command


def _registered() -> dict[str, EntryPoint]:
    # All that are found, not the first alone: a build may have left an older list in the source folder.
    found = (entry for distribution in distributions(name=DISTRIBUTION) for entry in distribution.entry_points)
    return {entry.name: entry for entry in found if entry.group == ENTRY_POINTS}


@click.group(cls=EntryPointGroup)
def main() -> None:
    """Domain-adapted machine translation with exactly zero forgetting.

    Learn with fmalloc-train, compile with fmalloc-export, serve with fmalloc-serve.
    """
