"""A route as one declaration: method, path, role, body, reply. Router, role check and OpenAPI read the same line.

Law: whoever may call a route is written where the route is written; a route without a role cannot be declared.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from aiohttp import web

from gateway.errors import unbuilt

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Role(StrEnum):
    """Who may call: everybody, a member of the workspace with at least that role, or our own machinery."""

    PUBLIC = "public"
    VIEWER = "viewer"
    EDITOR = "editor"
    OWNER = "owner"
    INTERNAL = "internal"


# Each role may do what the roles below it may.
RANK: Final = {Role.VIEWER: 1, Role.EDITOR: 2, Role.OWNER: 3}


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter: its name, what it does, its JSON Schema, and whether it has to be given."""

    name: str
    description: str
    schema: dict[str, Any]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One declared route.

    `reply` is a msgspec type or the name of a component; `body` the name of a component; `media` what else a body
    may be than JSON. `creates`: Idempotency-Key is honoured. `limit` is the largest body in bytes.
    """

    method: str
    path: str
    role: Role
    handler: Handler
    name: str
    noun: str
    summary: str
    details: str
    status: int = 200
    reply: Any = None
    reply_media: str = "application/json"
    body: str | None = None
    body_required: bool = True
    media: tuple[str, ...] = ("application/json",)
    query: tuple[Query, ...] = ()
    limit: int = 1 << 20
    creates: bool = False
    guarded: bool = False  # If-Match is honoured
    built: bool = True
    development: bool = False  # only where the development clock is on

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names in the path."""
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


ROUTES: Final[list[Route]] = []


def route(
    method: str,
    path: str,
    *,
    role: Role,
    noun: str = "",
    status: int = 200,
    reply: Any = None,
    reply_media: str = "application/json",
    body: str | None = None,
    body_required: bool = True,
    media: tuple[str, ...] = ("application/json",),
    query: tuple[Query, ...] = (),
    limit: int = 1 << 20,
    creates: bool = False,
    guarded: bool = False,
    development: bool = False,
) -> Callable[[Handler], Handler]:
    """Declare the decorated handler; its docstring's first line is the summary, the rest says what is answered."""

    def declare(handler: Handler) -> Handler:
        summary, _, details = (handler.__doc__ or "").strip().partition("\n")
        ROUTES.append(
            Route(
                method=method,
                path=path,
                role=role,
                handler=handler,
                name=str(getattr(handler, "__name__", path)),
                noun=noun or _noun(path),
                summary=summary,
                details="\n".join(line.strip() for line in details.strip().splitlines()),
                status=status,
                reply=reply,
                reply_media=reply_media,
                body=body,
                body_required=body_required,
                media=media,
                query=query,
                limit=limit,
                creates=creates,
                guarded=guarded,
                development=development,
            )
        )
        return handler

    return declare


def not_yet(method: str, path: str, *, role: Role, name: str, what: str) -> None:
    """Declare a route of the contract whose part is not built: it answers 501 `not_implemented` to whoever may call."""

    async def refuse(request: web.Request) -> web.StreamResponse:
        raise unbuilt(what)

    refuse.__name__ = name
    ROUTES.append(
        Route(
            method=method,
            path=path,
            role=role,
            handler=refuse,
            name=name,
            noun=_noun(path),
            summary=f"{what} (not built yet).",
            details="501 not_implemented.",
            status=501,
            built=False,
        )
    )


def _noun(path: str) -> str:
    parts = path.strip("/").split("/")
    if parts[0] != "api":
        return "server"
    if parts[1:3] == ["journeys", "internal"]:
        return "internal"
    return parts[1].partition(":")[0] if len(parts) > 1 else "server"
