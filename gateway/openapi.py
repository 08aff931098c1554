"""The API described by its own declarations: OpenAPI 3.1.

Law: nothing is written here that is not declared with a route, a schema or a DTO; so the description cannot lie.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gateway.declaration import Role, Route
from gateway.errors import MEDIA_TYPE as PROBLEM
from gateway.schemas import COMPONENTS

_REF: Final = "#/components/schemas/{name}"
_SECURITY: Final[dict[str, Any]] = {
    "session": {"type": "apiKey", "in": "cookie", "name": "session", "description": "From POST /api/session."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "internal": {"type": "http", "scheme": "bearer", "description": "One of SYNC_API_KEY."},
}
_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457. Members beyond these may be added, such as the current `updatedAt` of a stale update.",
    "required": ["type", "title", "status", "detail", "instance", "code", "requestId"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "description": "snake_case; see the routes for the codes they answer."},
        "requestId": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "code", "message"],
                "properties": {
                    "path": {"type": "string", "description": "A JSON Pointer (RFC 6901)."},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
_REQUEST_ID: Final[dict[str, Any]] = {
    "X-Request-Id": {"schema": {"type": "string"}, "description": "The client's, or a new one."}
}


def description_of(routes: Sequence[Route], version: str, server: str | None = None) -> dict[str, Any]:
    """The OpenAPI document of these routes; `server` is the address they are reached at, if it is known."""
    types = [route.reply for route in routes if route.reply is not None and not isinstance(route.reply, str)]
    shown, named = msgspec.json.schema_components(types, ref_template=_REF)
    replies = iter(shown)
    paths: dict[str, Any] = {}
    for route in routes:
        if route.reply is None:
            reply = None
        elif isinstance(route.reply, str):
            reply = {"$ref": _REF.format(name=route.reply)}
        else:
            reply = next(replies)
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, reply)
    if twice := COMPONENTS.keys() & named.keys():
        raise ValueError(f"two components of one name: {sorted(twice)}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Adaptive Journeys",
            "version": version,
            "description": "Customer journeys: authoring, running, watching. JSON in UTF-8, times in RFC 3339 UTC with "
            "three fraction digits, lists as bare arrays with `Link: rel=next`, refusals as problem+json.",
        },
        "servers": [{"url": server or "/"}],
        "tags": [{"name": noun} for noun in dict.fromkeys(route.noun for route in routes)],
        "paths": paths,
        "components": {
            "schemas": {**COMPONENTS, **named, "Problem": _PROBLEM},
            "securitySchemes": _SECURITY,
        },
    }


def _operation(route: Route, reply: dict[str, Any] | None) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.noun],
        "summary": route.summary,
        "description": route.details,
        "x-role": str(route.role),
        "security": _security(route.role),
        "responses": _responses(route, reply),
    }
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    if route.body is not None:
        schema = {"$ref": _REF.format(name=route.body)}
        operation["requestBody"] = {
            "required": route.body_required,
            "content": {media: {"schema": schema} for media in route.media},
        }
    return operation


def _security(role: Role) -> list[dict[str, list[str]]]:
    match role:
        case Role.PUBLIC:
            return []
        case Role.INTERNAL:
            return [{"internal": []}]
        case _:
            return [{"session": []}, {"apiKey": []}]


def _parameters(route: Route) -> list[dict[str, Any]]:
    text = {"type": "string"}
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": text} for name in route.parameters
    ]
    found += [
        {"name": query.name, "in": "query", "description": query.description, "schema": query.schema}
        for query in route.query
    ]
    if route.creates:
        about = "The same key and body within 24 hours give the first answer again; another body is 422."
        found.append({"name": "Idempotency-Key", "in": "header", "description": about, "schema": text})
    if route.guarded:
        about = "An ETag: 412 unless it is the current one."
        found.append({"name": "If-Match", "in": "header", "description": about, "schema": text})
    return found


def _responses(route: Route, reply: dict[str, Any] | None) -> dict[str, Any]:
    problem = {
        "description": "A problem.",
        "headers": _REQUEST_ID,
        "content": {PROBLEM: {"schema": {"$ref": _REF.format(name="Problem")}}},
    }
    if not route.built:
        return {"501": {**problem, "description": "Not built yet."}, "default": problem}
    answer: dict[str, Any] = {"description": route.details.partition(";")[0] or "Done.", "headers": dict(_REQUEST_ID)}
    if route.status != 204:
        answer["content"] = {route.reply_media: {"schema": reply if reply is not None else {}}}
    if any(query.name == "cursor" for query in route.query):
        answer["headers"]["Link"] = {"schema": {"type": "string"}, "description": '<...>; rel="next"'}
    if route.status == 201:
        answer["headers"]["Location"] = {"schema": {"type": "string"}}
    return {str(route.status): answer, "default": problem}
