"""Settings of the server, in order of precedence: flags, environment (`FMALLOC_*`), settings file, defaults."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BeforeValidator, ByteSize, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
)

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import DomainName

PREFIX = "FMALLOC_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
# Variables with the prefix that are not settings.
_FOREIGN = frozenset({CONFIG_VARIABLE, f"{PREFIX}CHECKPOINT_SECONDS"})
_KUBERNETES_LINK = re.compile(r"SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?")
_KUBERNETES = "; Kubernetes sets it for a Service named fmalloc: use enableServiceLinks: false in the pod"
_DURATION = re.compile(r"(\d+(?:\.\d*)?)\s*(ms|s|m|h)?")
_SIZES = {"GiB": 2**30, "GB": 10**9, "MiB": 2**20, "MB": 10**6, "KiB": 2**10}
_METAVARS = {"ByteSize": "SIZE", "float": "TIME", "int": "N", "Path": "PATH", "str": "TEXT", "tuple": "A,B"}
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        raise ValueError("expected seconds, or a number with ms, s, m or h, such as 500ms or 2m")
    return float(found[1]) * _UNIT_SECONDS[found[2]]


def _listed(value: Any) -> Any:
    """Split a flag or variable at its commas; a settings file holds a list."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """Checked settings of one server, from keywords, then the environment, then defaults.

    Sizes are bytes (`2GB`, `64MiB`), times are seconds (`3ms`, `30s`), lists are words separated by commas.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    bundles: Path = Field(Path("bundles"), description="The directory with live.json.")

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all networks.", min_length=1)
    port: int = Field(5000, ge=0, le=65535, description="Port to listen on; 0 for any free one.")
    connections: Count = Field(4096, description="Most connections at once; beyond: 503.")
    header_seconds: Seconds = Field(
        10.0, description="Time limit for the head of a request; beyond: the connection is closed."
    )
    body_seconds: Seconds = Field(30.0, description="Time limit for the body of a request; beyond: 408.")
    keep_alive_seconds: Seconds = Field(5.0, description="How long idle connections stay open.")
    drain_seconds: Seconds = Field(30.0, description="Time for running requests to finish when the server stops.")
    page: bool = Field(True, description="Serve the page at / and the documentation at /docs.")
    cors: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = Field(
        (), description="Origins whose pages may call the server, * for all; CORS is off without any."
    )

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU if there is one.")
    compute_type: str = Field(
        "default", description="CTranslate2's compute type; default: that of the weights.", min_length=1
    )
    workers: int = Field(0, ge=0, description="Batches at once (0: one per CPU core, or one on a GPU).")
    threads: int = Field(1, ge=0, description="CPU threads per batch (0: the engine's choice).")
    memory: ByteSize | None = Field(None, gt=0, description="Most bytes of models in memory; unlimited by default.")
    preload: Annotated[tuple[DomainName, ...] | None, NoDecode, BeforeValidator(_listed)] = Field(
        None, description="Domains to load at the start; as many as fit by default."
    )
    poll_seconds: Seconds = Field(1.0, gt=0, description="How often to check live.json for changes.")

    trusted_keys: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_listed)] = Field(
        (), description="Files of public keys; bundles that none of them signed are refused (see fmalloc keys sign)."
    )

    batch_tokens: Count = Field(2048, description="Most padded source tokens per batch.")
    batch_wait: Seconds = Field(0.003, description="Maximum batching delay, unless all workers are idle.")
    exact: bool = Field(True, description="Batch-invariant output: int8 batches on CPUs hold sentences of one length.")
    queue_characters: Count = Field(2_000_000, description="Most characters in flight; beyond: 429.")
    bodies_limit: ByteSize = Field(
        ByteSize(64 * 2**20), gt=0, description="Most bytes of all request bodies at once; beyond: 429."
    )

    body_limit: ByteSize = Field(ByteSize(2 * 2**20), gt=0, description="Most bytes per request body.")
    document_limit: ByteSize = Field(
        ByteSize(10 * 2**20), gt=0, description="Most bytes per document, also of what is packed in it."
    )
    documents: int = Field(20, ge=0, description="Most documents per key that are not downloaded; 0: no documents.")
    documents_limit: ByteSize = Field(
        ByteSize(128 * 2**20), gt=0, description="Most bytes of all documents in memory; beyond: 429."
    )
    document_seconds: Seconds = Field(3600.0, gt=0, description="How long a translated document is kept.")
    text_limit: Count = Field(200_000, description="Most characters per request.")
    beam_size: Count | None = Field(None, description="Default beam size; unset: each bundle's own, or 4.")
    beam_limit: Count = Field(8, description="Largest beam size per request.")
    alternatives_limit: int = Field(5, ge=0, description="Most alternatives per request.")

    keys: Path | None = Field(
        None, description="File of API keys (see fmalloc keys); without it, anybody may translate."
    )
    usage: Path | None = Field(None, description="File that keeps each key's characters of this month across restarts.")
    guarded: Annotated[tuple[Literal["ready", "metrics", "models"], ...], NoDecode, BeforeValidator(_listed)] = Field(
        ("ready", "models"),
        description="What asks for a key where there are keys: details of /readyz, /metrics, domains as models.",
    )
    requests_per_minute: Count | None = Field(
        None, description="Default per-key limit of requests; global if no keys are configured."
    )
    characters_per_minute: Count | None = Field(
        None, description="Default per-key limit of characters; global if no keys are configured."
    )

    log_format: Literal["text", "json"] = Field("text", description="Format of log lines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level to log.")
    decisions: Path | None = Field(
        None, description="JSON-lines file to log routing decisions to, for fmalloc routing replay."
    )
    decisions_text: bool = Field(False, description="Log source text with the decisions.")
    corrections: Path | None = Field(
        None, description="Folder to keep clients' corrections in, for fmalloc correct; without it, none are taken."
    )
    corrections_limit: ByteSize = Field(
        ByteSize(64 * 2**20), gt=0, description="Most bytes of corrections per domain; beyond: 507."
    )

    glossaries: Path | None = Field(
        None,
        description="Folder to keep clients' glossaries in; without it, requests may bring terms, but none are kept.",
    )
    glossaries_limit: ByteSize = Field(
        ByteSize(64 * 2**20), gt=0, description="Most bytes of glossaries per key; beyond: 456."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        problems = []
        if self.beam_size is not None and self.beam_size > self.beam_limit:
            problems.append(f"beam_size {self.beam_size}: expected at most beam_limit, {self.beam_limit}")
        if self.alternatives_limit >= self.beam_limit:
            problems.append(
                f"alternatives_limit {self.alternatives_limit}: expected less than beam_limit, {self.beam_limit}"
            )
        if self.body_limit > self.bodies_limit:
            problems.append(
                f"body_limit {shown(self.body_limit)}: expected at most bodies_limit, {shown(self.bodies_limit)}"
            )
        if self.documents and self.document_limit > self.documents_limit:
            problems.append(
                f"document_limit {shown(self.document_limit)}: expected at most documents_limit, "
                f"{shown(self.documents_limit)}"
            )
        if self.decisions_text and self.decisions is None:
            problems.append("decisions_text: expected a file in decisions too")
        if problems:
            raise ValueError("\n".join(problems))
        return self


SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Connections": (
        "host", "port", "connections", "header_seconds", "body_seconds", "keep_alive_seconds", "drain_seconds",
        "page", "cors",
    ),
    "Models": ("device", "compute_type", "workers", "threads", "memory", "preload", "poll_seconds", "trusted_keys"),
    "Throughput": ("batch_tokens", "batch_wait", "exact", "queue_characters", "bodies_limit"),
    "Limits of a request": ("body_limit", "text_limit", "beam_size", "beam_limit", "alternatives_limit"),
    "Documents": ("document_limit", "documents", "documents_limit", "document_seconds"),
    "Clients": ("keys", "usage", "guarded", "requests_per_minute", "characters_per_minute"),
    "Records": ("log_format", "log_level", "decisions", "decisions_text", "corrections", "corrections_limit"),
    "Glossaries": ("glossaries", "glossaries_limit"),
}  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """Settings, and the origin of each that is not a default (`--port`, `FMALLOC_PORT`, `serve.yaml`)."""

    settings: Settings
    origins: Mapping[str, str]

    @classmethod
    def of(cls, flags: Mapping[str, Any] | None = None, config: Path | None = None) -> "Loaded":
        """Merge and check `flags` (those given), the environment and the file (`config`, or FMALLOC_CONFIG).

        Raises FmallocError with all problems at once, each with its origin, value and what is expected.
        """
        flags = flags or {}
        if config is None and (named := os.environ.get(CONFIG_VARIABLE)):
            config = Path(named)
        environment = EnvSettingsSource(Settings)()
        written = _read(config) if config else {}
        origins = dict.fromkeys(written, str(config))
        origins |= {name: f"{PREFIX}{name.upper()}" for name in environment}
        origins |= {name: flag(name) for name in flags}
        problems = _unknown_variables()
        try:
            settings = Settings(**{**written, **environment, **flags})
        except ValidationError as error:
            problems += _problems(error, origins)
        if problems:
            raise FmallocError("\n".join(problems))
        return cls(settings, origins)


def flag(name: str) -> str:
    """The command-line flag of a setting."""
    return "BUNDLES" if name == "bundles" else f"--{name.replace('_', '-')}"


def shown(value: object) -> str:
    """A setting's value as a user would write it; empty if it is not set."""
    if value is None or value == ():
        return ""
    if isinstance(value, ByteSize):
        return next((f"{value // size}{unit}" for unit, size in _SIZES.items() if not value % size), str(int(value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}s" if value >= 1 or not value else f"{value * 1000:g}ms"
    return str(value)


def metavar(name: str) -> str:
    """The kind of value that a setting takes, for help."""
    annotation = Settings.model_fields[name].annotation
    if get_origin(annotation) is Literal:
        return f"[{'|'.join(get_args(annotation))}]"
    # The innermost types of `Annotated[int, …] | None` and the like, without NoneType.
    kinds = re.findall(r"ByteSize|tuple|float|int|Path|str", str(annotation))
    return _METAVARS[kinds[0]]


def _read(path: Path) -> dict[str, Any]:
    from fmalloc_shared.configuration import read_toml, read_yaml

    readers = {".yaml": read_yaml, ".yml": read_yaml, ".toml": read_toml}
    if path.suffix not in readers:
        raise FmallocError(f"{path}: expected a file name that ends in {', '.join(readers)}")
    return readers[path.suffix](path).content


def _unknown_variables() -> list[str]:
    problems = []
    for variable in sorted(os.environ):
        name = variable.removeprefix(PREFIX)
        if name == variable or variable in _FOREIGN or name.lower() in Settings.model_fields:
            continue
        problem = f"{variable}: no such setting{_similar(name.lower())}"
        problems.append(problem + (_KUBERNETES if _KUBERNETES_LINK.fullmatch(name) else ""))
    return problems


def _problems(error: ValidationError, origins: Mapping[str, str]) -> list[str]:
    problems = []
    for problem in error.errors(include_url=False):
        message = problem["msg"].removeprefix("Value error, ")
        if not problem["loc"]:
            problems.append(message)
            continue
        key = str(problem["loc"][0])
        origin = origins.get(key, "default")
        where = origin if origin in (flag(key), f"{PREFIX}{key.upper()}") else f"{origin}: {key}"
        if problem["type"] == "extra_forbidden":
            problems.append(f"{where}: no such setting{_similar(key)}")
            continue
        value = repr(problem["input"])
        value = value if len(value) <= 80 else f"{value[:77]}..."
        linked = origin == f"{PREFIX}PORT" and value.startswith("'tcp://")
        problems.append(f"{where}: {message}, found {value}{_KUBERNETES if linked else ''}")
    return problems


def _similar(name: str) -> str:
    similar = get_close_matches(name, Settings.model_fields, n=1)
    return f", did you mean {similar[0]}?" if similar else f": known are {', '.join(Settings.model_fields)}"
