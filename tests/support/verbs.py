"""All commands of `fmalloc`, by the words that call them."""

from collections.abc import Iterator

import click

from fmalloc_shared.commands.verbs import main


def _below(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _below(command, (*words, name))
        else:
            yield (*words, name), command


COMMANDS = dict(_below(main))
