"""The phase in which bundles take each other's place all the time."""

from benchmarks.serving.load import percentiles
from benchmarks.serving.process import Server, make_live
from benchmarks.soak.background import repeat, steady, until
from benchmarks.soak.phase import Record, Setting

_SWAPS = 50  # a repeat
_ALL_EVERY = 10
_PATIENCE = 60.0


def swapped(setting: Setting, record: Record) -> None:
    """Let one domain's bundle, at times every domain's, take another's place under load, a hundred times."""
    seconds: list[float] = []
    live = dict(setting.here)
    domains = sorted(live)

    def swap(server: Server, number: int) -> None:
        changing = domains if number % _ALL_EVERY == 0 else [domains[number % len(domains)]]
        for domain in changing:
            here, there = setting.here[domain], setting.there[domain]
            live[domain] = there if live[domain] == here else here
        make_live(setting.bundles, live)
        taken = until(lambda: _served(server) == live, _PATIENCE)
        record.check("every swap is seen in /readyz", taken is not None, server.get("/readyz"))
        seconds.append(taken or _PATIENCE)

    with setting.serve("--poll-seconds", 0.05) as server:

        def swaps(_turn: int) -> None:
            with steady(server, record, setting.truth.calls):
                for number in range(setting.times(_SWAPS)):
                    swap(server, number)
            make_live(setting.bundles, setting.here)
            live.update(setting.here)
            until(lambda: _served(server) == live, _PATIENCE)

        repeat(server, record, setting.truth.calls, swaps)
        counted = server.metrics()['fmalloc_reloads_total{result="ok"}']
    record.facts |= {"swaps": len(seconds), "reloads": counted, "seconds_to_swap": percentiles(seconds)}
    record.check("no swap fails", counted >= len(seconds) + 1, counted)


def _served(server: Server) -> dict[str, str]:
    return {domain: served["bundle"] for domain, served in server.get("/readyz")["domains"].items()}
