"""The server as a Ray Serve application: each replica is a complete server, and Ray spreads requests over them."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from starlette.applications import Starlette

from fmalloc_runtime import logs, machine
from fmalloc_runtime.access.gatekeeper import Gatekeeper
from fmalloc_runtime.api.app import create_app
from fmalloc_runtime.batching.service import Service
from fmalloc_runtime.settings import Loaded, Settings
from fmalloc_shared.errors import FmallocError

# Sentences of different requests share batches, so a replica takes many requests at once; queue_characters bounds them.
_ONGOING_REQUESTS = 256
# Settings of a server process that Ray takes care of.
_ELSEWHERE = {
    **dict.fromkeys(
        ("host", "port", "connections", "header_seconds", "body_seconds", "keep_alive_seconds"),
        "Ray's proxy listens: see http_options of the Serve config",
    ),
    "drain_seconds": "Ray stops replicas: see graceful_shutdown_timeout_s of the deployment",
    "usage": "several replicas cannot share one file",
    "documents": "several replicas do not share documents, so that none are taken",
}


class Replica:
    """One replica: it serves what live.json names, watches it for changes, and answers in all dialects."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        """`given` as for `application`. Raises FmallocError if there is nothing to serve."""
        import ray

        self._closing = ExitStack()
        settings = replica_settings(given, ray.get_runtime_context().get_assigned_resources())
        logs.configure(settings.log_format, settings.log_level)
        machine.take_short_turns()
        service = self._closing.enter_context(Service.open(settings))
        gate = self._closing.enter_context(Gatekeeper.open(settings, service.metrics))
        self._app = create_app(service, settings, gate)

    def __serve_build_asgi_app__(self) -> Starlette:
        return self._app

    def __del__(self) -> None:
        self._closing.close()


def application(given: dict[str, Any]) -> Any:
    """The Ray Serve application that `serve run` and `serve deploy` import: a deployment of Replica.

    `given`: settings by their names in a settings file.
    Raises FmallocError, before any replica is started, if one is unknown, wrong, or not for a replica.
    """
    from ray import serve

    replica_settings(given, {})
    replica = serve.ingress()(Replica)
    options = {"num_cpus": 1}
    return serve.deployment(replica, max_ongoing_requests=_ONGOING_REQUESTS, ray_actor_options=options).bind(given)


def replica_settings(given: Mapping[str, Any], resources: Mapping[str, float]) -> Settings:
    """The settings of a replica with these Ray `resources`; `workers` defaults to one per CPU of the replica."""
    for name in given:
        if name in _ELSEWHERE:
            raise FmallocError(f"{name}: not a setting of a Ray replica; {_ELSEWHERE[name]}")
    settings = Loaded.of(given).settings.model_copy(update={"documents": 0})
    if settings.workers or resources.get("GPU"):
        return settings
    workers = max(1, int(resources.get("CPU", 1)) // max(settings.threads, 1))
    return settings.model_copy(update={"workers": workers})
