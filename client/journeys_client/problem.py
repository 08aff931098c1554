"""What a call may raise.

ClientError                  everything below; `str()` of each is one line
    Problem                  the server answered and said no: status, code, detail, errors
    Unreachable              no answer came: no connection, or it broke, or it took too long
    NotUnderstood            an answer came that is not the server's: no JSON where JSON was due
"""

from collections.abc import Mapping
from dataclasses import dataclass


class ClientError(Exception):
    """A call did not give a result."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with what was sent: a JSON Pointer into it, a stable code, a sentence."""

    path: str
    code: str
    message: str


class Problem(ClientError):
    """The server refused, in the form of RFC 9457.

    `code` is the stable snake_case reason, `errors` names every fault at once, `members` is the whole answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: tuple[Fault, ...] = (),
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}" if detail else f"{status} {code}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.members: Mapping[str, object] = {} if members is None else members

    @property
    def request_id(self) -> str | None:
        """The id under which the server's log knows this call."""
        value = self.members.get("requestId")
        return value if isinstance(value, str) else None

    @property
    def is_conflict(self) -> bool:
        """Whether somebody else's change, or the present state, stands against the call (409, 412)."""
        return self.status in (409, 412)


class Unreachable(ClientError):
    """No answer came, so nobody can say whether the call was carried out."""


class NotUnderstood(ClientError):
    """Something answered that does not speak this API, such as a proxy's error page."""


def problem_from_json(status: int, body: object) -> Problem:
    """The problem in an error's body; a body of another form still gives one, with code `http_<status>`."""
    members: dict[str, object] = body if isinstance(body, dict) else {}
    code = members.get("code")
    detail = members.get("detail") or members.get("title") or ("" if code else "this is no answer of this API")
    return Problem(
        status=status,
        code=code if isinstance(code, str) else f"http_{status}",
        detail=" ".join(str(detail).split()),
        errors=tuple(_faults(members.get("errors"))),
        members=members,
    )


def _faults(errors: object) -> list[Fault]:
    entries = [entry for entry in errors if isinstance(entry, dict)] if isinstance(errors, list) else []
    return [
        Fault(str(entry.get("path", "")), str(entry.get("code", "")), str(entry.get("message", "")))
        for entry in entries
    ]
