"""A server's place in tests: answers from a table, and remembers what it was asked.

transport = MockTransport()
transport.on("GET", "/api/journeys", json=[...])
transport.on("POST", "/api/events", answer=lambda call: (202, {"received": 1, "duplicates": 0, "errors": []}))

client = Client(transport=transport)        # and AsyncClient(transport=transport)
assert transport.calls[0].json() == {...}
"""

import json as jsonlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

Answer = tuple[int, Any] | tuple[int, Any, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the server saw it; `path` still percent-encoded, header names in lower case."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The body read as JSON."""
        return jsonlib.loads(self.content)


@dataclass(slots=True)
class _Route:
    method: str
    pattern: re.Pattern[str]
    answers: list[Callable[[Asked], Answer]] = field(default_factory=list)


class MockTransport(httpx2.MockTransport):
    """Serves both clients. A route that is not in the table answers 404, as the server does."""

    def __init__(self) -> None:
        super().__init__(self._handle)
        self.calls: list[Asked] = []
        self._routes: list[_Route] = []

    def on(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        answer: Callable[[Asked], Answer] | None = None,
    ) -> None:
        """Answer `method path` so; `*` in the path stands for one segment.

        Said several times for one route, the answers are given in that order, and the last one from then on.
        """
        reply = answer or (lambda asked: (status, json, headers or {}))
        known = next(
            (route for route in self._routes if route.method == method and route.pattern == _pattern(path)), None
        )
        if known is None:
            known = _Route(method, _pattern(path))
            self._routes.append(known)
        known.answers.append(reply)

    def asked(self, method: str, path: str) -> list[Asked]:
        """The calls to one route, in order; `*` in the path stands for one segment."""
        pattern = _pattern(path)
        return [call for call in self.calls if call.method == method and pattern.fullmatch(call.path)]

    def _handle(self, request: httpx2.Request) -> httpx2.Response:
        asked = Asked(
            request.method,
            request.url.raw_path.decode("ascii").partition("?")[0],
            dict(request.url.params),
            {name.lower(): value for name, value in request.headers.items()},
            request.content,
        )
        self.calls.append(asked)
        for route in self._routes:
            if route.method == asked.method and route.pattern.fullmatch(asked.path):
                answer = route.answers.pop(0) if len(route.answers) > 1 else route.answers[0]
                return _response(answer(asked))
        return _response(problem(404, "not_found", f"no route {asked.method} {asked.path}"))


def problem(status: int, code: str, detail: str = "", **members: Any) -> Answer:
    """An answer in the form of RFC 9457, as the server gives it."""
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code, **members}
    return status, body, {"content-type": "application/problem+json"}


def _response(answer: Answer) -> httpx2.Response:
    status, body, *rest = answer
    headers = {"content-type": "application/json", **(rest[0] if rest else {})}
    content = b"" if body is None else body if isinstance(body, bytes) else jsonlib.dumps(body).encode()
    return httpx2.Response(status, headers=headers, content=content)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(path).replace(r"\*", "[^/]+"))
