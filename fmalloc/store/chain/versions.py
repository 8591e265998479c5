"""Versions of a domain: each is a task, named as the domain is, from the second one on with `@2`, `@3` …

One of those that are there is current: the newest, unless a record of the chain names another. Such a record holds
until the next one about the same domain, or until its version is freed. Only a store has versions: recipes, bundles and
servers know domains.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import check_name
from fmalloc_shared.strict import StrictModel

CURRENT = "current"
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")


def domain_of(task: str) -> str:
    """The domain that a task is a version of."""
    return task.partition("@")[0]


def number_of(task: str) -> int:
    """Which version of its domain a task is, from 1."""
    return int(task.partition("@")[2] or 1)


def named(domain: str, number: int) -> str:
    """The name of the task that is this version of a domain."""
    return domain if number == 1 else f"{domain}@{number}"


def asked(name: str) -> tuple[str, int | None]:
    """Domain and number of a version as users name it, `it@1` too; None without a number. FmallocError if malformed."""
    domain, at, number = name.partition("@")
    check_name(domain)
    if at and not _NUMBER.fullmatch(number):
        raise FmallocError(f"version {name!r}: expected a domain and a number up to 999999, such as {domain}@1")
    return domain, int(number) if at else None


def check_task_name(name: str) -> str:
    """Return `name` if it can name a task in a store; raise FmallocError if not."""
    domain, number = asked(name)
    if number is not None and name != named(domain, number):
        raise FmallocError(f"task name {name!r}: the first version is named as its domain, {domain!r}")
    return name


def _valid(name: str) -> str:
    try:
        return check_task_name(name)
    except FmallocError as error:
        raise ValueError(str(error)) from error


TaskName = Annotated[str, AfterValidator(_valid)]


class CurrentRecord(StrictModel):
    """current/<number>.json: from here on, the name of the domain means this version of it."""

    INDENT = 1

    version: Literal[1] = 1
    """Of this file."""
    time: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    """UTC, ISO 8601."""
    task: TaskName
    """The version: `it`, or `it@2`, `it@3` …"""


class Versions(NamedTuple):
    """By domain: the versions that are there, in the order of learning, and the one that a record holds, if any."""

    there: Mapping[str, list[str]]
    held: Mapping[str, str]

    @property
    def current(self) -> Mapping[str, str]:
        """By domain the name of the task that is current."""
        return {domain: self.held.get(domain) or max(names, key=number_of) for domain, names in self.there.items()}

    def label(self, task: str) -> str:
        """What users call a task: its domain, with the number of the version where there can be a doubt."""
        is_alone = self.there.get(domain_of(task), [task]) == [domain_of(task)]
        return task if is_alone else f"{domain_of(task)}@{number_of(task)}"


def versions_of(links: Iterable[tuple[str, str]], records: Iterable[CurrentRecord]) -> Versions:
    """From the kind and the name of each link, in their order, and the records of the kind `current`."""
    following = iter(records)
    held: dict[str, str] = {}
    there: dict[str, list[str]] = {}
    for kind, name in links:
        if kind == "task":
            there.setdefault(domain_of(name), []).append(name)
        elif kind == CURRENT:
            task = next(following).task
            held.pop(domain_of(task), None)
            if task in there.get(domain_of(task), ()):
                held[domain_of(task)] = task
    return Versions(there, held)
