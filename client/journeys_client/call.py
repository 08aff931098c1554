"""A call and its reply as values: what goes over the wire, before and after.

Law: no IO. Every method of every resource makes a `Call`; the two clients differ only in how they carry it.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast
from urllib.parse import parse_qsl, quote, urlsplit

from journeys_client.problem import NotUnderstood

T = TypeVar("T")

ABSENT: Any = object()  # a body of `null` is something else than no body
_LINK = re.compile(r"<([^>]*)>([^<]*)")
_NEXT = re.compile(r';\s*rel\s*=\s*"?next\b')


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer: its status, headers (names in lower case) and body."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The body read as JSON, None if it is empty. Raises NotUnderstood."""
        if not self.content:
            return None
        try:
            return json.loads(self.content)
        except ValueError as error:
            raise NotUnderstood(f"the answer is not JSON ({error})") from None

    def next_page(self) -> tuple[str, dict[str, str]] | None:
        """Path and query of the page after this one, from `Link: <...>; rel="next"`.

        Only path and query are taken: what a client sends along stays with the server it was given.
        """
        for target, parameters in _LINK.findall(self.headers.get("link", "")):
            if _NEXT.search(parameters):
                parts = urlsplit(target)
                return parts.path, dict(parse_qsl(parts.query, keep_blank_values=True))
        return None


def json_of(reply: Reply) -> Any:
    """Read a reply as JSON."""
    return reply.json()


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request whose answer is a T.

    `content` is a body other than JSON; an iterator is streamed and cannot be repeated. `bearer` asks for the
    shared secret of the internal routes instead of a member's sign-in. `timeout` None means: as the client says.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    json: Any = ABSENT
    content: bytes | Iterable[bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    bearer: bool = False
    timeout: float | None = None
    read: Callable[[Reply], Any] = json_of

    def has_json(self) -> bool:
        """Whether the body is JSON."""
        return self.json is not ABSENT

    def body(self) -> bytes | Iterable[bytes] | None:
        """The bytes to send."""
        if not self.has_json():
            return self.content
        return json.dumps(self.json, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    def is_repeatable(self) -> bool:
        """Whether the very same request can be sent a second time."""
        return self.content is None or isinstance(self.content, bytes)

    def result(self, reply: Reply) -> T:
        """What the caller gets. Raises NotUnderstood."""
        return cast(T, self.read(reply))

    def after(self, reply: Reply) -> "Call[T] | None":
        """The call for the page after `reply`, None after the last."""
        following = reply.next_page()
        if following is None:
            return None
        path, params = following
        return replace(self, path=path or self.path, params=params)


def route(pattern: str, *ids: str) -> str:
    """Put ids into the `{}` of a path, each as one percent-encoded segment, whatever characters it has."""
    return pattern.format(*(_segment(text) for text in ids))


def given(**params: str | int | bool | None) -> dict[str, str]:
    """The query parameters that are not None, as text."""
    return {
        name: ("true" if value else "false") if isinstance(value, bool) else str(value)
        for name, value in params.items()
        if value is not None
    }


def _segment(text: str) -> str:
    # A segment of dots only would be taken for "here" or "one up" on the way.
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")
