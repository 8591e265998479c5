"""The OpenAPI 3.1 description of all operations, with the limits, languages and domains of this server."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from anyio.to_thread import run_sync
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.bodies import FORMS, JSON, MULTIPART
from fmalloc_runtime.api.fields import LIMIT, SERVED, Fields
from fmalloc_runtime.api.languages import deepl_source, deepl_targets
from fmalloc_runtime.api.operation import Operation
from fmalloc_runtime.errors import NotReadyError
from fmalloc_runtime.live.snapshot import Snapshot
from fmalloc_runtime.routing.router import AUTO
from fmalloc_runtime.settings import Settings
from fmalloc_shared import __version__
from fmalloc_shared.languages import short_code

Schema = dict[str, Any]
_REF = "#/components/schemas/{model}"
# If two modules have a model of the same name, pydantic puts the module before it: "deepl", or "deepl_fields".
_QUALIFIED = re.compile(r"fmalloc_runtime__api__dialects__([a-z]+?)(?:_fields)?__")
_DESCRIPTIONS = {
    400: "A field is missing, malformed or not supported",
    403: "The API key is missing or unknown, or the server does not do this",
    404: "Unknown model, version, document or glossary",
    408: "The body did not arrive in time",
    413: "The body, or the text in it, exceeds the limit",
    415: "The content type is not supported",
    429: "The rate limit of this key is reached, or the server is overloaded",
    456: "The monthly quota of this key is used up, or it has too many glossaries",
    500: "The server failed",
    503: "Nothing is served yet, or the server is shutting down",
    507: "There is no room for more corrections or glossaries",
    529: "The server is overloaded",
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}}
_SECURITY: list[Schema] = [{}, {"bearer": []}, {"deepl": []}]
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "deepl": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "DeepL-Auth-Key and the key",
    },
}


def openapi_route(operations: Sequence[Operation], backend: Backend) -> Route:
    """The route of /openapi.json, whose content is made once per snapshot; domains only for who may see them."""
    made: tuple[Snapshot | None, dict[bool, bytes]] = (None, {})

    def content(snapshot: Snapshot | None, domains: bool) -> bytes:
        found = describe(operations, backend.settings, snapshot, domains=domains)
        return json.dumps(found, ensure_ascii=False).encode()

    async def serve(request: Request) -> Response:
        nonlocal made
        try:
            snapshot = backend.service.registry.snapshot()
        except NotReadyError:
            snapshot = None
        if made[0] is not snapshot:
            made = (snapshot, {})
        contents, sees = made[1], backend.may_see(request, "models")
        if sees not in contents:
            contents[sees] = await run_sync(content, snapshot, sees)
        return Response(contents[sees], media_type=JSON)

    return Route("/openapi.json", serve)


def describe(
    operations: Sequence[Operation], settings: Settings, snapshot: Snapshot | None, *, domains: bool = True
) -> Schema:
    """The description. Without a snapshot, domains and languages are any strings; without `domains`, domains are."""
    names, schemas = _schemas(operations)
    paths: dict[str, Schema] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, names, schemas)
    found = {
        "openapi": "3.1.0",
        "info": {"title": "fmalloc", "version": __version__, "description": _introduction(operations)},
        "tags": [{"name": name} for name in dict.fromkeys(operation.dialect.name for operation in operations)],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SCHEMES},
    }
    filled = _filled(found, settings, _served(snapshot, domains=domains))
    assert isinstance(filled, dict)
    return filled


def _introduction(operations: Sequence[Operation]) -> str:
    dialects = ", ".join(dict.fromkeys(operation.dialect.name for operation in operations))
    return f"Domain-adapted machine translation that routes by domain, in several protocols: {dialects}."


def _schemas(operations: Sequence[Operation]) -> tuple[Mapping[type, str], dict[str, Schema]]:
    """References to models by class, and the schemas that they lead to."""
    requests = {operation.request for operation in operations if operation.request is not None}
    answers = {operation.response for operation in operations if operation.response is not None}
    answers |= {operation.dialect.error for operation in operations}
    wanted = [(model, "validation") for model in requests] + [(model, "serialization") for model in answers]
    wanted.sort(key=lambda item: (item[0].__module__, item[0].__name__))
    by_model, found = models_json_schema(wanted, ref_template=_REF)  # type: ignore[arg-type]
    schemas = {_named(name): _renamed(schema) for name, schema in found["$defs"].items()}
    return {model: _named(schema["$ref"]) for (model, _), schema in by_model.items()}, dict(sorted(schemas.items()))


def _operation(operation: Operation, names: Mapping[type, str], schemas: Mapping[str, Schema]) -> Schema:
    found: Schema = {
        "operationId": "_".join([operation.method.lower(), *re.findall(r"\w+", operation.path)]),
        "summary": operation.summary,
        "tags": [operation.dialect.name],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": _path_schema(name)}
            for name in re.findall(r"{(\w+)}", operation.path)
        ],
        "responses": _responses(operation, names),
    }
    if operation.needs_key:
        found["security"] = _SECURITY
    if operation.request is None:
        return found
    if operation.method in ("GET", "DELETE"):
        schema = schemas[names[operation.request].rpartition("/")[2]]
        found["parameters"] += _query(schema)
        return found
    kinds = (MULTIPART,) if operation.upload else (JSON, *FORMS) if operation.dialect.forms else (JSON,)
    found["requestBody"] = {
        "required": _needed(operation.request),
        "content": {kind: {"schema": {"$ref": names[operation.request]}} for kind in kinds},
    }
    return found


def _needed(model: type[Fields]) -> bool:
    return any(field.is_required() for field in model.model_fields.values())


def _query(schema: Schema) -> list[Schema]:
    required = schema.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": content}
        for name, content in schema["properties"].items()
    ]


def _path_schema(name: str) -> Schema:
    return {"type": "string", "minLength": 1} | ({SERVED: "models"} if name == "model" else {})


def _responses(operation: Operation, names: Mapping[type, str]) -> Schema:
    content = {operation.media: {"schema": {"type": "string"}}}
    if operation.response is not None:
        content = {JSON: {"schema": {"$ref": names[operation.response]}}}
    found: Schema = {str(operation.success): {"description": operation.summary, "content": content}}
    if operation.success == 204:
        del found["204"]["content"]
    for status in operation.errors:
        found[str(status)] = {
            "description": _DESCRIPTIONS[status],
            "content": {JSON: {"schema": {"$ref": names[operation.dialect.error]}}},
        }
        if status in (429, 529):
            found[str(status)]["headers"] = _RETRY_AFTER
    return found


def _served(snapshot: Snapshot | None, *, domains: bool) -> Mapping[str, list[str]]:
    if snapshot is None:
        return {}
    pair = snapshot.languages
    names = sorted(snapshot.bundles)
    return {
        "models": names if domains else [],
        "domains": [AUTO, *names] if domains else [],
        "sources": [AUTO, short_code(pair.source)],
        "targets": [short_code(pair.target)],
        "deepl_sources": [deepl_source(pair.source)],
        "deepl_targets": [code for code, _ in deepl_targets(pair.target)],
    }


def _filled(schema: object, settings: Settings, served: Mapping[str, list[str]]) -> object:
    """The schema with the limits and values themselves in place of their names."""
    if isinstance(schema, list):
        return [_filled(item, settings, served) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _filled(value, settings, served) for key, value in schema.items() if key not in (LIMIT, SERVED)}
    if LIMIT in schema:
        found["maxLength" if schema.get("type") == "string" else "maximum"] = getattr(settings, schema[LIMIT])
    if values := served.get(schema.get(SERVED, "")):
        found["enum"] = values
    return found


def _named(name: str) -> str:
    return _QUALIFIED.sub(lambda match: match[1].capitalize(), name)


def _renamed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_renamed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _named(value) if key == "$ref" else _renamed(value) for key, value in schema.items()}
