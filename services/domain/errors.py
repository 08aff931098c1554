"""Everything that can be refused, as one tree.

    Refused                  kind, reason (the public `code`), sentence, faults
    +-- Invalid              the caller's input is wrong; carries faults with JSON Pointers
    +-- UnknownCaller        nobody we know
    +-- Forbidden            known, but not allowed
    +-- OverPlan             the workspace's own limit
    +-- Missing              not there, or another workspace's
    |   +-- Expired          was there, for a time
    +-- Duplicate            the id is taken
    +-- Stale                made from an older state
    |   +-- Unmatched        ... and the caller had sent `If-Match`
    +-- NotNow               the state does not allow it
    +-- TooMuch              ask again later, you ask too often
    +-- Unavailable          ask again later, we cannot now
    +-- Late                 the deadline passed
    +-- Unbuilt              a route whose part is not built yet

Law: an error says how the world should react (its kind) and why (its reason, listed in
`journeys/type/v1/error_reason.proto`). Use cases raise; one interceptor and one middleware translate.
Not being eligible is a decision with a reason, never an error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How the world reacts."""

    INVALID = "invalid"
    UNKNOWN_CALLER = "unknown_caller"
    OVER_PLAN = "over_plan"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    DUPLICATE = "duplicate"
    STALE = "stale"
    UNMATCHED = "unmatched"
    NOT_NOW = "not_now"
    TOO_MUCH = "too_much"
    UNAVAILABLE = "unavailable"
    LATE = "late"
    UNBUILT = "unbuilt"
    BUG = "bug"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: where (a JSON Pointer, RFC 6901), what (snake_case code), and a sentence."""

    path: str
    code: str
    message: str


class Refused(Exception):
    """Something was asked that cannot be done; nothing was changed."""

    kind: Kind = Kind.BUG

    def __init__(
        self, reason: str, message: str, faults: Sequence[Fault] = (), metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.faults = tuple(faults)
        self.metadata = dict(metadata or {})  # members added to the problem, such as the current updatedAt


class Invalid(Refused):
    """The input is wrong; `faults` lists all that is."""

    kind = Kind.INVALID


class UnknownCaller(Refused):
    """The caller is nobody we know."""

    kind = Kind.UNKNOWN_CALLER


class Forbidden(Refused):
    """The caller's role does not allow it."""

    kind = Kind.FORBIDDEN


class OverPlan(Refused):
    """The workspace's own limit is reached."""

    kind = Kind.OVER_PLAN


class Missing(Refused):
    """It is not there, or belongs to another workspace."""

    kind = Kind.MISSING

    def __init__(self, what: str, name: str) -> None:
        super().__init__("not_found", f"There is no {what} {name!r}.")


class Expired(Missing):
    """A link that was good for a time."""

    def __init__(self, message: str) -> None:
        Refused.__init__(self, "link_expired", message)


class Duplicate(Refused):
    """The id is taken."""

    kind = Kind.DUPLICATE


class Stale(Refused):
    """The change was made from a state that is no longer current."""

    kind = Kind.STALE


class Unmatched(Stale):
    """The same, where the caller had named the state by `If-Match`."""

    kind = Kind.UNMATCHED


class NotNow(Refused):
    """The object's state does not allow it."""

    kind = Kind.NOT_NOW


class TooMuch(Refused):
    """The caller asks too often."""

    kind = Kind.TOO_MUCH


class Unavailable(Refused):
    """We cannot now; the caller may try again."""

    kind = Kind.UNAVAILABLE

    def __init__(self, message: str) -> None:
        super().__init__("unavailable", message)


class Late(Refused):
    """The deadline passed."""

    kind = Kind.LATE

    def __init__(self, message: str = "The answer did not come in time.") -> None:
        super().__init__("deadline_exceeded", message)


class Unbuilt(Refused):
    """The route exists in the contract and its part is not built yet."""

    kind = Kind.UNBUILT

    def __init__(self, what: str) -> None:
        super().__init__("not_implemented", f"{what} is not built yet.")
