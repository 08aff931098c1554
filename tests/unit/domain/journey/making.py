"""Journeys, predicates and people for the tests of this room, by hand and by Hypothesis."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from services.domain.journey.graph import Catalogue, CommunicationInfo, faults_of
from services.domain.journey.model import Graph, Predicate, Settings, Step
from services.domain.journey.reading import read_predicate, read_steps

TEXT = st.text(max_size=6)
NAMES = st.sampled_from(
    ["id", "type", "mode", "next", "kind", "clauses", "clause", "value", "operator", "a/b", "c~d", ""]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(categories=("L", "N", "Cs")), max_size=4)
    | st.sampled_from(
        ["trigger", "wait", "branch", "send", "exit", "event", "duration", "P1D", "and", "attribute", "in"]
    )
)
# Whatever json.loads may give, and what it may not: NaN, huge integers, halves of surrogate pairs.
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | TEXT, inner, max_size=5), max_leaves=30
)


def refuse_braces(text: str) -> Sequence[str]:
    """Stands for Liquid: an opening without a closing."""
    return ["The tag is not closed."] if text.count("{{") > text.count("}}") else []


CATALOGUE = Catalogue(
    communications={
        "hello": CommunicationInfo("marketing", "email"),
        "receipt": CommunicationInfo("transactional", "email"),
        "old": CommunicationInfo("marketing", "email", "archived"),
        "old-receipt": CommunicationInfo("transactional", "mobile_push", "archived"),
    },
    audiences=frozenset({"vip"}),
    trigger_contracts=frozenset({"signup"}),
    template_faults=refuse_braces,
)

ALL_STEPS: list[dict[str, Any]] = [
    {"id": "t", "type": "trigger", "next": "w1", "name": "Start", "position": {"x": 1, "y": -40.5}},
    {"id": "t2", "type": "trigger", "mode": "audience_entry", "backfill": False, "next": "w1"},
    {
        "id": "t3",
        "type": "trigger",
        "mode": "schedule",
        "at": "2026-04-30T13:00:00.000Z",
        "timezone": "Asia/Tokyo",
        "next": "w1",
    },
    {"id": "t4", "type": "trigger", "mode": "schedule", "rrule": "FREQ=DAILY", "next": "w1"},
    {"id": "t5", "type": "trigger", "mode": "manual", "next": "w1", "filter": {"kind": "and", "clauses": []}},
    {"id": "w1", "type": "wait", "mode": "duration", "duration": "PT30M", "next": "w2"},
    {"id": "w2", "type": "wait", "mode": "until_time", "localTime": "09:30", "weekdays": ["fri", "mon"], "next": "w3"},
    {"id": "w2a", "type": "wait", "mode": "until_time", "attribute": "trial.endsAt", "offset": "-P7D", "next": "w3"},
    {"id": "w2b", "type": "wait", "mode": "until_time", "at": "2026-04-30T13:00:00+02:00", "next": "w3"},
    {
        "id": "w3",
        "type": "wait",
        "mode": "until_event",
        "eventName": "paid",
        "match": {"data.orderId": "event.orderId"},
        "filter": {"kind": "event_attribute", "fieldPath": "total", "operator": "gt", "value": 1},
        "timeout": "P3D",
        "onTimeout": "b1",
        "next": "b1",
    },
    {
        "id": "w4",
        "type": "wait",
        "mode": "until_condition",
        "condition": {"kind": "channel_opted_in", "channel": "email"},
        "timeout": "P1D",
        "onTimeout": "x",
        "next": "x",
    },
    {
        "id": "b1",
        "type": "branch",
        "mode": "condition",
        "branches": [
            {"id": "a", "condition": {"kind": "in_segment", "audienceId": "vip"}, "next": "s"},
            {
                "id": "b",
                "condition": {
                    "kind": "not",
                    "clause": {
                        "kind": "event_fired",
                        "eventName": "paid",
                        "window": {"type": "last_n_days", "days": 7},
                        "atLeast": 2,
                        "where": {"kind": "event_attribute", "fieldPath": "total", "operator": "exists"},
                    },
                },
                "next": "x",
            },
        ],
        "default": "b2",
    },
    {
        "id": "b2",
        "type": "branch",
        "mode": "random",
        "arms": [{"id": "a", "weight": 1, "next": "b3"}, {"id": "b", "weight": 3.5, "next": "h"}],
    },
    {
        "id": "b3",
        "type": "branch",
        "mode": "adaptive",
        "arms": [{"id": "a", "next": "s"}, {"id": "b", "next": "h"}],
        "optimizationGoal": {"eventName": "bought"},
        "minSampleFloor": 50,
        "explorationFloor": 0.1,
    },
    {"id": "s", "type": "send", "channel": "email", "communicationId": "hello", "onFailure": "fail", "next": "u"},
    {
        "id": "h",
        "type": "webhook",
        "method": "PUT",
        "url": "https://hooks.example.com/x",
        "headers": {"X-A": "1"},
        "body": {"who": ["{{ subject.name }}", 1, None]},
        "timeout": "PT5S",
        "retries": 1,
        "saveAs": "answer",
        "onFailure": "continue",
        "next": "u",
    },
    {"id": "u", "type": "update_profile", "set": {"touched": True, "plan.label": "{{ subject.plan }}"}, "next": "w4"},
    {"id": "x", "type": "exit", "reason": "done"},
]

ALL_SETTINGS: dict[str, Any] = {
    "reentry": {"mode": "after_exit", "minInterval": "P1D", "concurrencyKey": "data.orderId"},
    "exitOn": [{"eventName": "cancelled"}, {"eventName": "paid", "match": {"orderId": "event.data.orderId"}}],
    "exitOnGoal": True,
    "maxDuration": "P90D",
    "timezone": "Europe/Berlin",
    "sendRate": {"perSecond": 50},
}


def steps_of(*steps: dict[str, Any]) -> tuple[Step, ...]:
    """Steps that must read without faults."""
    read, faults = read_steps(list(steps))
    assert not faults
    return read


def graph_of(*steps: dict[str, Any], settings: Settings | None = None) -> Graph:
    """The same as a graph."""
    return Graph(steps_of(*steps), settings or Settings())


def predicate_of(json: dict[str, Any]) -> Predicate:
    """A predicate that must read without faults."""
    predicate, faults = read_predicate(json, "")
    assert not faults
    assert predicate is not None
    return predicate


def wait(key: str, goes_to: str | None) -> dict[str, Any]:
    """A wait of a day."""
    return {"id": key, "type": "wait", "mode": "duration", "duration": "P1D", "next": goes_to}


def split(key: str, *targets: str | None) -> dict[str, Any]:
    """A random branch with an arm for each target."""
    return {
        "id": key,
        "type": "branch",
        "mode": "random",
        "arms": [{"id": f"{i}", "next": t} for i, t in enumerate(targets)],
    }


def end(key: str = "x") -> dict[str, Any]:
    """An exit."""
    return {"id": key, "type": "exit"}


def send(key: str = "s", goes_to: str = "x", **more: Any) -> dict[str, Any]:
    """A mail."""
    return {"id": key, "type": "send", "channel": "email", "communicationId": "hello", "next": goes_to, **more}


def attribute(path: str, operator: str, value: Any = None) -> dict[str, Any]:
    """A leaf over the profile."""
    return {"kind": "attribute", "fieldPath": path, "operator": operator, "value": value}


def resolve(json: Any, path: str) -> Any:
    """What a JSON Pointer leads to; KeyError, IndexError or TypeError if there is nothing."""
    for segment in path.split("/")[1:]:
        name = segment.replace("~1", "/").replace("~0", "~")
        json = json[int(name)] if isinstance(json, list) else json[name]
    return json


def found(*steps: dict[str, Any], catalogue: Catalogue = CATALOGUE) -> list[tuple[str, str]]:
    """The paths and codes of what publish finds."""
    return [(fault.path, fault.code) for fault in faults_of(graph_of(*steps), catalogue)]
