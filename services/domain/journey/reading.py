"""Steps and settings read from the JSON an author wrote.

Law: what is wrong is malformed and always refused; what is merely missing is incomplete, reads as None or empty,
and is found by the graph checks. One pass finds every fault; nothing here raises, whatever the JSON.
Source: contract 2.1 and 2.2.
"""

import re
from collections.abc import Callable

from services.domain.errors import Fault
from services.domain.journey.members import (
    MAX_NAME,
    Members,
    escaped,
    free_faults,
    is_broken,
    items,
    shown,
    wrong_type,
)
from services.domain.journey.model import (
    CHANNELS,
    NO_DURATION_MS,
    UNWRITTEN,
    Arm,
    BranchAdaptive,
    BranchCondition,
    BranchRandom,
    Case,
    Exit,
    ExitOn,
    Json,
    Predicate,
    Reentry,
    Send,
    Settings,
    Step,
    Trigger,
    UpdateProfile,
    WaitDuration,
    WaitUntilCondition,
    WaitUntilEvent,
    WaitUntilTime,
    Webhook,
)
from services.domain.journey.paths import BadPath, Path, read_path, read_rooted_path
from services.domain.journey.reading_predicate import read_predicate
from services.domain.times import DAY_MS, parse_offset, parse_time

__all__ = ["read_path", "read_predicate", "read_settings", "read_steps"]

STEP_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
METHODS = ("POST", "PUT", "PATCH", "GET", "DELETE")
MAX_WEIGHT = 1e9
MAX_RETRIES = 20
_LOCAL_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_LOCAL_DATE_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?")  # no offset
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")  # no line break: it would begin another header
_URL = re.compile(r"(?:[^\x00-\x20\x7f][^\x00-\x1f\x7f]*)?")
_FAR = 1e15  # a canvas is smaller


def read_steps(json: Json, at: str = "/steps") -> tuple[tuple[Step, ...], list[Fault]]:
    """The steps in the order written and every fault of their shape; with faults, the steps have gaps."""
    faults: list[Fault] = []
    steps = [_step(item, path, faults) for item, path in items(json, at, faults)]
    return tuple(step for step in steps if step is not None), faults


def read_settings(json: Json, at: str = "/settings") -> tuple[Settings, list[Fault]]:
    """The settings, defaults where nothing is written, and every fault of their shape."""
    faults: list[Fault] = []
    if json is None:
        return Settings(), faults
    members = Members(json, at, faults)
    exit_on = [_exit_on(item, path, faults) for item, path in members.items("exitOn")]
    max_duration = members.duration("maxDuration", above_zero=True)
    settings = Settings(
        reentry=_reentry(members.named("reentry")),
        exit_on=tuple(exit_on),
        exit_on_goal=members.flag("exitOnGoal", False),
        max_duration_ms=365 * DAY_MS if max_duration is None else max_duration,
        timezone=members.zone("timezone"),
        sends_per_second=_send_rate(members.named("sendRate")),
    )
    members.close()
    return settings, faults


def _reentry(members: Members | None) -> Reentry:
    if members is None:
        return Reentry()
    mode = members.choice("mode", ("every_event", "once", "after_exit"), code="unknown_mode")
    reentry = Reentry(mode or "every_event", members.duration("minInterval"), members.dotted("concurrencyKey"))
    members.close()
    return reentry


def _exit_on(json: Json, at: str, faults: list[Fault]) -> ExitOn:
    members = Members(json, at, faults)
    exit_on = ExitOn(members.text("eventName", need=True, least=1, most=MAX_NAME) or "", _match(members))
    members.close()
    return exit_on


def _send_rate(members: Members | None) -> float | None:
    if members is None:
        return None
    members.take("perSecond", need=True)
    rate = members.number("perSecond", 0, 1e6, above=True)
    members.close()
    return rate


def _step(json: Json, at: str, faults: list[Fault]) -> Step | None:
    members = Members(json, at, faults)
    key = members.text("id", need=True, pattern=STEP_ID)
    members.text("name")
    _position(members.named("position"))
    kind = members.choice("type", tuple(_READERS), need=True, code="unknown_step_type")
    if kind is None:
        return None
    readers = _READERS[kind]
    if isinstance(readers, dict):
        needed = kind != "trigger"
        mode = members.choice("mode", tuple(readers), need=needed, code="unknown_mode")
        if mode is None:
            if needed or members.take("mode") is not None:
                return None  # without a mode nobody knows which members belong
            mode = "event"
        read = readers[mode]
    else:
        read = readers
    step = read(members, key or "")
    members.close()
    return step


def _position(members: Members | None) -> None:
    """The canvas' own: checked, not kept, since no decision reads it."""
    if members is not None:
        for name in ("x", "y"):
            members.take(name, need=True)
            members.number(name, -_FAR, _FAR)
        members.close()


def _trigger(mode: str) -> "_Reader":
    def read(members: Members, key: str) -> Step:
        return Trigger(key, mode, members.text("next"), filter=_condition(members, "filter"))

    return read


def _trigger_audience(members: Members, key: str) -> Step:
    filtered = _condition(members, "filter")
    return Trigger(key, "audience_entry", members.text("next"), filtered, backfill=members.flag("backfill", True))


def _trigger_schedule(members: Members, key: str) -> Step:
    written = members.take("at")
    is_local = isinstance(written, str) and _LOCAL_DATE_TIME.fullmatch(written) is not None
    at = members.parsed("at", _face if is_local else parse_time)
    step = Trigger(
        key,
        "schedule",
        members.text("next"),
        filter=_condition(members, "filter"),
        at=None if is_local else at,
        local_at=at if is_local else None,
        rrule=members.text("rrule", least=1, most=1_000),
        timezone=members.zone("timezone"),
    )
    _at_most_one(members, "at", "rrule")
    return step


def _face(text: str) -> int:
    """What clocks show, as if they showed UTC. Raises BadTime."""
    return parse_time(f"{text}{'' if text.count(':') == 2 else ':00'}Z")


def _wait_duration(members: Members, key: str) -> Step:
    duration = members.duration("duration")
    return WaitDuration(key, NO_DURATION_MS if duration is None else duration, members.text("next"))


def _wait_until_time(members: Members, key: str) -> Step:
    local = members.text("localTime", pattern=_LOCAL_TIME)
    days = [_weekday(item, path, members.faults) for item, path in members.items("weekdays")]
    offset = members.parsed("offset", parse_offset) or (0, 0)
    step = WaitUntilTime(
        key,
        members.text("next"),
        at=members.time("at"),
        local_time=local,
        weekdays=tuple(day for day in WEEKDAYS if day in days),
        attribute=members.dotted("attribute"),
        offset_ms=offset[1],
        offset_days=offset[0],
    )
    _at_most_one(members, "at", "localTime", "attribute")
    for name, owner in (("weekdays", "localTime"), ("offset", "attribute")):
        others = {"at", "localTime", "attribute"} - {owner}
        if members.take(name) is not None and any(members.take(other) is not None for other in others):
            members.fault(name, "conflicting_members", f"{name} belongs to {owner}.")
    return step


def _weekday(json: Json, at: str, faults: list[Fault]) -> str | None:
    if not isinstance(json, str):
        faults.append(wrong_type(at, json, "a string"))
    elif json not in WEEKDAYS:
        faults.append(Fault(at, "unknown_value", f"{shown(json)} is none of {', '.join(WEEKDAYS)}."))
    else:
        return json
    return None


def _wait_until_event(members: Members, key: str) -> Step:
    return WaitUntilEvent(
        key,
        members.text("eventName", most=MAX_NAME) or "",
        members.text("next"),
        members.duration("timeout"),
        members.text("onTimeout"),
        match=_match(members),
        filter=_condition(members, "filter"),
    )


def _wait_until_condition(members: Members, key: str) -> Step:
    condition = _condition(members, "condition") or UNWRITTEN
    timeout = members.duration("timeout")
    return WaitUntilCondition(key, condition, members.text("next"), timeout, members.text("onTimeout"))


def _branch_condition(members: Members, key: str) -> Step:
    cases = []
    for json, at in members.items("branches"):
        inner = Members(json, at, members.faults)
        name = inner.text("id", need=True, least=1, most=64)
        cases.append(Case(name or "", _condition(inner, "condition") or UNWRITTEN, inner.text("next")))
        inner.close()
    return BranchCondition(key, tuple(cases), members.text("default"))


def _branch_random(members: Members, key: str) -> Step:
    return BranchRandom(key, _arms(members, weighted=True))


def _branch_adaptive(members: Members, key: str) -> Step:
    goal = members.named("optimizationGoal")
    event_name = None
    if goal is not None:
        event_name = goal.text("eventName", most=MAX_NAME) or None
        goal.close()
    floor = members.whole("minSampleFloor", 0, 1_000_000_000)
    exploration = members.number("explorationFloor", 0, 1)
    return BranchAdaptive(
        key,
        _arms(members, weighted=False),
        event_name,
        200 if floor is None else floor,
        0.05 if exploration is None else exploration,
    )


def _arms(members: Members, *, weighted: bool) -> tuple[Arm, ...]:
    arms = []
    for json, at in members.items("arms"):
        inner = Members(json, at, members.faults)
        name = inner.text("id", need=True, least=1, most=64)
        weight = inner.number("weight", 0, MAX_WEIGHT) if weighted else None
        arms.append(Arm(name or "", inner.text("next"), 1.0 if weight is None else weight))
        inner.close()
    return tuple(arms)


def _send(members: Members, key: str) -> Step:
    return Send(
        key,
        members.choice("channel", CHANNELS) or "",
        members.text("communicationId", most=MAX_NAME) or "",
        members.text("next"),
        _on_failure(members),
    )


def _webhook(members: Members, key: str) -> Step:
    headers = {}
    for name, value in members.pairs("headers"):
        at = f"{members.path('headers')}/{escaped(name)}"
        if not isinstance(value, str):
            members.faults.append(wrong_type(at, value, "a string"))
        elif is_broken(value) or not _HEADER.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            members.faults.append(Fault(at, "bad_pattern", f"{shown(name)} is no header, or its value is broken."))
        else:
            headers[name] = value
    timeout = members.duration("timeout", above_zero=True)
    retries = members.whole("retries", 0, MAX_RETRIES)
    return Webhook(
        key,
        members.text("url", most=8_192, pattern=_URL) or "",
        members.text("next"),
        method=members.choice("method", METHODS) or "POST",
        headers=headers,
        body=members.free("body"),
        timeout_ms=10_000 if timeout is None else timeout,
        retries=3 if retries is None else retries,
        save_as=members.text("saveAs", pattern=STEP_ID),
        on_failure=_on_failure(members),
    )


def _update_profile(members: Members, key: str) -> Step:
    values = dict(members.pairs("set"))
    for name, value in values.items():
        _path_of(name, members, "set", read_path)
        members.faults.extend(free_faults(value, f"{members.path('set')}/{escaped(name)}"))
    return UpdateProfile(key, values, members.text("next"))


def _exit(members: Members, key: str) -> Step:
    return Exit(key, members.text("reason"))


def _on_failure(members: Members) -> str:
    return members.choice("onFailure", ("continue", "fail")) or "continue"


def _condition(members: Members, name: str) -> Predicate | None:
    json = members.take(name)
    if json is None:
        return None
    predicate, faults = read_predicate(json, members.path(name))
    members.faults.extend(faults)
    return predicate


def _match(members: Members) -> tuple[tuple[Path, Path], ...]:
    found = []
    for name, value in members.pairs("match"):
        awaited = _path_of(name, members, "match", read_path)
        inner = Members({name: value}, members.path("match"), members.faults)
        own = inner.dotted(name, need=True, read=read_rooted_path)
        if awaited is not None and own is not None:
            found.append((awaited, own))
    return tuple(found)


def _path_of(name: str, members: Members, member: str, read: Callable[[str], Path]) -> Path | None:
    try:
        return read(name)
    except BadPath as refusal:
        members.fault(member, "bad_path", str(refusal))
        return None


def _at_most_one(members: Members, *names: str) -> None:
    given = [name for name in names if members.take(name) is not None]
    for name in given[1:]:
        members.fault(name, "conflicting_members", f"{given[0]} and {name} exclude each other.")


_Reader = Callable[[Members, str], Step]

_READERS: dict[str, _Reader | dict[str, _Reader]] = {
    "trigger": {
        "event": _trigger("event"),
        "audience_entry": _trigger_audience,
        "schedule": _trigger_schedule,
        "manual": _trigger("manual"),
    },
    "wait": {
        "duration": _wait_duration,
        "until_time": _wait_until_time,
        "until_event": _wait_until_event,
        "until_condition": _wait_until_condition,
    },
    "branch": {"condition": _branch_condition, "random": _branch_random, "adaptive": _branch_adaptive},
    "send": _send,
    "webhook": _webhook,
    "update_profile": _update_profile,
    "exit": _exit,
}
