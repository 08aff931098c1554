"""How to translate, as the caller says.

Law: every fault of the options is told at once, with its pointer into the body.
Source: pinpoint design 6.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from services.authoring.pinpoint.shapes import STATES
from services.authoring.pinpoint.times import write_moment
from services.domain.errors import Fault
from services.domain.journey.members import MAX_NAME, Members, items, wrong_type
from services.domain.journey.model import Json
from services.domain.journey.paths import BadPath, read_path

DEFAULT_STATES: Final = ("DRAFT", "ACTIVE", "PAUSED")
SESSION_START: Final = "_session.start"
RANDOM_SPLITS: Final = ("static", "adaptive")
EVALUATION_WAITS: Final = ("strict", "early")
SMS_POLICIES: Final = ("skip", "webhook", "email")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one translation. `now_ms` decides what is past."""

    now_ms: int
    include_states: tuple[str, ...] = DEFAULT_STATES
    include_test_journeys: bool = False
    journey_ids: frozenset[str] | None = None
    random_split: str = "static"
    evaluation_wait: str = "strict"
    sms: str = "skip"
    system_events: Mapping[str, str] = field(default_factory=lambda: {SESSION_START: "session_started"})
    variable_map: Mapping[str, str] = field(default_factory=dict)
    strict: bool = False

    @property
    def session_event(self) -> str:
        """The event that stands for a session's start."""
        return self.system_events.get(SESSION_START, "session_started")

    def as_json(self) -> dict[str, Json]:
        """The options as the bundle records them, defaults written out."""
        return {
            "includeStates": list(self.include_states),
            "includeTestJourneys": self.include_test_journeys,
            "journeyIds": None if self.journey_ids is None else sorted(self.journey_ids),
            "randomSplit": self.random_split,
            "evaluationWait": self.evaluation_wait,
            "sms": self.sms,
            "systemEvents": dict(self.system_events),
            "variableMap": dict(self.variable_map),
            "now": write_moment(self.now_ms),
            "strict": self.strict,
        }


def read_options(json: Json, default_now_ms: int, at: str = "/options") -> tuple[Options, list[Fault]]:
    """The options and every fault of them; `default_now_ms` is what `now` means where it is absent."""
    faults: list[Fault] = []
    members = Members({} if json is None else json, at, faults)
    states = _texts(members, "includeStates")
    for i, state in enumerate(states or ()):
        if state not in STATES:
            faults.append(Fault(f"{at}/includeStates/{i}", "unknown_value", f"A state is one of {', '.join(STATES)}."))
    ids = _texts(members, "journeyIds")
    now_ms = members.time("now")
    options = Options(
        now_ms=default_now_ms if now_ms is None else now_ms,
        include_states=DEFAULT_STATES if states is None else tuple(dict.fromkeys(states)),
        include_test_journeys=members.flag("includeTestJourneys", False),
        journey_ids=None if ids is None else frozenset(ids),
        random_split=members.choice("randomSplit", RANDOM_SPLITS) or "static",
        evaluation_wait=members.choice("evaluationWait", EVALUATION_WAITS) or "strict",
        sms=members.choice("sms", SMS_POLICIES) or "skip",
        system_events=_names(members, "systemEvents") or {SESSION_START: "session_started"},
        variable_map=_paths(members, "variableMap"),
        strict=members.flag("strict", False),
    )
    members.close()
    return options, faults


def _texts(members: Members, name: str) -> list[str] | None:
    value = members.take(name)
    if value is None:
        return None
    found = []
    for item, at in items(value, members.path(name), members.faults):
        if isinstance(item, str):
            found.append(item)
        else:
            members.faults.append(wrong_type(at, item, "a string"))
    return found


def _names(members: Members, name: str) -> dict[str, str]:
    found = {}
    for key, value in members.pairs(name):
        inner = Members({key: value}, members.path(name), members.faults)
        text = inner.text(key, need=True, least=1, most=MAX_NAME)
        if text is not None:
            found[key] = text
    return found


def _paths(members: Members, name: str) -> dict[str, str]:
    found = _names(members, name)
    for key, text in list(found.items()):
        try:
            read_path(text)
        except BadPath as refusal:
            del found[key]
            inner = Members({}, members.path(name), members.faults)
            inner.fault(key, "bad_path", str(refusal))
    return found
