"""`fmalloc serve --check`: report everything that would keep the server from starting."""

from fmalloc_runtime.access.keys import Keys
from fmalloc_runtime.access.usage import UsageLedger
from fmalloc_runtime.bundle.signature import TrustedKeys
from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.live.translator import EngineSettings
from fmalloc_runtime.settings import Loaded, Settings, shown
from fmalloc_shared.corrections import ENDING, read_log
from fmalloc_shared.errors import FmallocError


def check_settings(loaded: Loaded) -> str:
    """What a server with these settings would serve, and each setting with its origin.

    Opens each live bundle as the server does: hashes, engine, golden translations. FmallocError has all problems.
    """
    facts, problems = [], []
    for check in (_bundles, _keys, _usage, _corrections):
        try:
            facts.extend(check(loaded.settings))
        except FmallocError as error:
            problems.append(str(error))
    if problems:
        raise FmallocError("\n".join(problems))
    rows = [(name, shown(value) or "-", loaded.origins.get(name, "default")) for name, value in loaded.settings]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    table = [f"{name:{widths[0]}}  {value:{widths[1]}}  {origin}" for name, value, origin in rows]
    return "\n".join([*facts, "", *table])


def _bundles(settings: Settings) -> list[str]:
    engines = EngineSettings(settings.device, settings.compute_type, settings.threads)
    trusted = TrustedKeys.read(settings.trusted_keys) if settings.trusted_keys else None
    snapshot = Registry(settings.bundles, engines, settings.memory, settings.preload, trusted=trusted).load()
    pair = snapshot.languages
    return [
        f"{domain}  {bundle.name}  {pair.source}-{pair.target}  verified"
        + (f", signed by {bundle.signed.key}" if bundle.signed else "")
        for domain, bundle in sorted(snapshot.bundles.items())
    ]


def _keys(settings: Settings) -> list[str]:
    if settings.keys is None:
        return ["no keys: anybody who reaches the server may translate"]
    entries = Keys(settings.keys).current().keys
    facts = [f"{len(entries)} keys in {settings.keys}"]
    if settings.usage is None and any(entry.characters for entry in entries):
        facts.append("characters per month are counted from zero at each start: --usage names a file that keeps them")
    return facts


def _usage(settings: Settings) -> list[str]:
    UsageLedger(settings.usage)
    return []


def _corrections(settings: Settings) -> list[str]:
    """Reads alone: what a crash left of a line stays until a server opens the log."""
    if settings.corrections is None:
        return []
    counts = {path: sum(1 for _ in read_log(path)) for path in sorted(settings.corrections.glob(f"*{ENDING}"))}
    return [f"{count} corrections in {path}" for path, count in counts.items()]
