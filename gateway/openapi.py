"""The API described by its own declarations: OpenAPI 3.1.

Law: nothing is written here that is not declared with a route, a schema or a DTO; so the description cannot lie.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.declaration import RANK, Role, Route
from gateway.errors import MEDIA_TYPE as PROBLEM
from gateway.schemas import COMPONENTS

# A status in a route's details, where a clause begins, with the rest of that clause: "404; 409 no_draft; 412."
_STATUS: Final = re.compile(r"(?:^|; |, or )([2-5][0-9]{2})\b(.*?)(?=; [2-5][0-9]{2}\b|, or [2-5][0-9]{2}\b|$)")
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
        {
            "name": query.name,
            "in": "query",
            "description": query.description,
            "schema": query.schema,
            **({"required": True} if query.required else {}),
        }
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
    answers = {
        str(status): _answer(route, status, about, reply) if status < 400 else {**problem, "description": about}
        for status, about in statuses_of(route).items()
    }
    return {**answers, "default": problem}


def statuses_of(route: Route) -> dict[int, str]:
    """Every status that a route tells of, each with its sentence: those of its details, and what all of its kind answer."""
    listed = next((" ".join(part.split()) for part in route.details.split("\n\n") if part[:3].isdecimal()), "")
    found = {int(code): text.partition(". ")[0].strip(" ,;.") for code, text in _STATUS.findall(listed)}
    found.setdefault(route.status, "")
    if route.role is not Role.PUBLIC:
        found.setdefault(401, "unauthenticated")
    if route.role in RANK and (route.role is not Role.VIEWER or route.method != "GET"):
        found.setdefault(403, "cross_site_request" if route.role is Role.VIEWER else "forbidden, cross_site_request")
    if route.body is not None:
        found.setdefault(400, "invalid_json, validation_error")
        found.setdefault(413, "payload_too_large")
        found.setdefault(415, "unsupported_media_type")
    if route.query:
        found.setdefault(400, "validation_error")
    if route.guarded:
        found.setdefault(412, "precondition_failed")
    if route.creates:
        found.setdefault(422, "idempotency_key_reused")
    return {status: about or HTTPStatus(status).phrase for status, about in sorted(found.items())}


def _answer(route: Route, status: int, about: str, reply: dict[str, Any] | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": about, "headers": dict(_REQUEST_ID)}
    if status != 204:
        answer["content"] = {route.reply_media: {"schema": reply if reply is not None else {}}}
    if any(query.name == "cursor" for query in route.query):
        answer["headers"]["Link"] = {"schema": {"type": "string"}, "description": '<...>; rel="next"'}
    if status == 201:
        answer["headers"]["Location"] = {"schema": {"type": "string"}}
    return answer
