"""What an author asked to change of a journey, checked.

Law: every fault is found at once, each at the pointer of the member in the body. What is not there stays as it is
(`UNSET`), which is not the same as null. Shapes are refused here; whether a graph is sound is asked at publish.
Source: contract 2, POST and PATCH.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Final, Literal

from services.authoring.json_text import canonical, read_json
from services.authoring.names import description_faults, title_faults
from services.domain.errors import Fault, Invalid
from services.domain.journey.reading import read_settings, read_steps

MAX_WINDOW_DAYS: Final = 365.0
MAX_REFERENCE: Final = 256  # characters of an event's name or another object's id


class Unset(Enum):
    """A member that is not there."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
Absent = Literal[Unset.UNSET]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an act of authoring came from, where it was not written by hand.

    `metadata` is added to its audit entry; `action` is told beside it, with the same metadata.
    """

    metadata: Mapping[str, Any]
    action: str | None = None


@dataclass(frozen=True, slots=True)
class JourneyChanges:
    """The members of a POST or PATCH; steps and settings as JSON."""

    name: str | Absent = UNSET
    description: str | Absent = UNSET
    audience_id: str | Absent | None = UNSET
    trigger_contract_id: str | Absent | None = UNSET
    goal_event_name: str | Absent | None = UNSET
    goal_event_window_days: float | Absent = UNSET
    steps_json: bytes | Absent = UNSET
    settings_json: bytes | Absent = UNSET

    def given(self) -> dict[str, object]:
        """The members that are there, by field name."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if value is not UNSET}


def read_changes(changes: JourneyChanges) -> tuple[JourneyChanges, list[Fault]]:
    """The changes with canonical JSON, and everything that is wrong with them."""
    faults: list[Fault] = []
    if changes.name is not UNSET:
        faults.extend(title_faults(changes.name))
    if changes.description is not UNSET:
        faults.extend(description_faults(changes.description))
    for value, path in (
        (changes.audience_id, "/audienceId"),
        (changes.trigger_contract_id, "/triggerContractId"),
        (changes.goal_event_name, "/goalEventName"),
    ):
        if isinstance(value, str) and not 1 <= len(value) <= MAX_REFERENCE:
            faults.append(Fault(path, "out_of_range", f"It has 1 to {MAX_REFERENCE} characters, or is null."))
    if changes.goal_event_window_days is not UNSET:
        faults.extend(window_faults(changes.goal_event_window_days))
    steps, settings = changes.steps_json, changes.settings_json
    if steps is not UNSET:
        json, found = read_json(steps, "/steps")
        found = found or read_steps(json)[1]
        faults.extend(found)
        steps = steps if found else canonical(json)
    if settings is not UNSET:
        json, found = read_json(settings, "/settings")
        found = found or read_settings(json)[1]
        faults.extend(found)
        settings = settings if found else canonical({} if json is None else json)
    read = {**changes.given(), "steps_json": steps, "settings_json": settings}
    return JourneyChanges(**read), faults  # type: ignore[arg-type]  # the members' own types, by name


def window_faults(days: float, path: str = "/goalEventWindowDays") -> list[Fault]:
    """What is wrong with a goal window."""
    if math.isfinite(days) and 0 < days <= MAX_WINDOW_DAYS:
        return []
    return [Fault(path, "out_of_range", f"The number must be more than 0 to {MAX_WINDOW_DAYS:g}.")]


def refusal(faults: Sequence[Fault]) -> Invalid:
    """The error for faults of an input: if all are of the one kind that has a reason of its own, that reason."""
    is_own = {"unsupported_duration"} == {fault.code for fault in faults}
    reason = "unsupported_duration" if is_own else "validation_error"
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return Invalid(reason, f"The input has {count}: {faults[0].message}", faults)
