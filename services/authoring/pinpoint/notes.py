"""What a translation says while it goes on: diagnostics, and what it keeps aside.

Law: every diagnostic has a code of the table, every value kept aside its pointer into the export. Nothing is said twice
of one place. However large and strange the export, what is said of it has limits: of one object a code is told a
thousand times at most, and where more members are strange than are told, the object is kept whole.
"""

from collections.abc import Sequence
from typing import Any, Final

from services.authoring.pinpoint.codes import CODES
from services.domain.errors import Invalid
from services.domain.journey.members import escaped
from services.domain.journey.model import Json

MAX_POINTER: Final = 1_000  # what is longer stops at an ancestor
MAX_TOLD: Final = 1_000  # of one code, of one object
MAX_DIAGNOSTICS: Final = 200_000  # of one export; more cannot be read by anybody
_MAX_DETAIL: Final = 300


class Notes:
    """Collects for one object, perhaps one step of it; `of` and `at_step` give collectors into the same lists."""

    __slots__ = ("_counts", "_seen", "diagnostics", "object_ref", "overflowing", "step_id", "unsupported")

    def __init__(self) -> None:
        self.diagnostics: list[dict[str, Json]] = []
        self.unsupported: list[dict[str, Json]] = []
        self.object_ref: str | None = None
        self.step_id: str | None = None
        self.overflowing: set[str | None] = set()  # objects of which more is strange than is told
        self._seen: set[tuple[str, str, str | None]] = set()
        self._counts: dict[tuple[str | None, str], int] = {}

    def of(self, object_ref: str | None, step_id: str | None = None) -> "Notes":
        """The same lists, speaking of another object."""
        other = Notes()
        other.diagnostics, other.unsupported, other._seen = self.diagnostics, self.unsupported, self._seen
        other._counts, other.overflowing = self._counts, self.overflowing
        other.object_ref, other.step_id = object_ref, step_id
        return other

    def buffered(self, step_id: str | None) -> "Notes":
        """Lists of its own about a step of the same object; the limits are shared."""
        other = Notes()
        other._counts, other.overflowing = self._counts, self.overflowing
        other.object_ref, other.step_id = self.object_ref, step_id
        return other

    def at_step(self, step_id: str | None) -> "Notes":
        """The same object, speaking of one step."""
        return self.of(self.object_ref, step_id)

    def say(self, code: str, path: str, detail: str = "") -> bool:
        """A diagnostic; `detail` is a sentence that goes before the code's own. Whether it is told, now or before."""
        row = CODES[code]
        key = (code, path, self.object_ref)
        if key in self._seen:
            return True
        told = self._counts[self.object_ref, code] = self._counts.get((self.object_ref, code), 0) + 1
        if told > MAX_TOLD:
            return False
        if told == MAX_TOLD:
            detail = "More of these are not listed."
        if len(self.diagnostics) >= MAX_DIAGNOSTICS:
            raise Invalid(
                "payload_too_large", "There is more to say of the export than anybody can read; send it in parts."
            )
        self._seen.add(key)
        if len(detail) > _MAX_DETAIL:
            detail = f"{detail[:_MAX_DETAIL]}..."
        self.diagnostics.append(
            {
                "code": code,
                "severity": row.severity,
                "verdict": row.verdict,
                "objectRef": self.object_ref,
                "stepId": self.step_id,
                "path": path,
                "message": f"{detail} {row.sentence}" if detail else row.sentence,
                "action": row.action,
            }
        )
        return True

    def keep(self, feature: str, path: str, payload: Json) -> None:
        """Keep a value of the source that no object of the bundle holds."""
        self.unsupported.append({"path": path, "feature": feature, "payload": payload})

    def is_full(self, code: str) -> bool:
        """Whether no more of a code is told of this object: whoever asks first need not say where it is."""
        return self._counts.get((self.object_ref, code), 0) >= MAX_TOLD

    def drop(self, code: str, feature: str, path: str, payload: Json, detail: str = "") -> None:
        """Say it and keep it."""
        if self.say(code, path, detail) or code != "unknown_member":
            self.keep(feature, path, payload)
        else:
            self.overflowing.add(self.object_ref)

    def keep_whole(self, feature: str, path: str, payload: Json) -> None:
        """Keep the object itself, if more of it is strange than was told."""
        if self.object_ref in self.overflowing:
            self.keep(feature, path, payload)


def step_into(path: str, *names: str | int) -> str:
    """The pointer of a member or item below `path`; beyond 1,000 characters it stays with the ancestor."""
    for name in names:
        longer = f"{path}/{escaped(str(name))}"
        if len(longer) > MAX_POINTER:
            return path
        path = longer
    return path


def has_error(diagnostics: Sequence[dict[str, Any]]) -> bool:
    """Whether one of them is an error."""
    return any(found["severity"] == "error" for found in diagnostics)
