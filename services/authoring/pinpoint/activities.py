"""One activity read: its type, its body, its ways out, and what it amounts to before the graph is known.

Law: pure reading; what is said about an activity is buffered, and told only if a path reaches it.
Source: pinpoint design 3.2, 4.2 and 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.authoring.pinpoint.flow import EXIT, Activity, Way
from services.authoring.pinpoint.notes import Notes, step_into
from services.authoring.pinpoint.options import Options
from services.authoring.pinpoint.shapes import ACTIVITIES, ACTIVITY, fitted
from services.authoring.pinpoint.times import read_length, read_moment
from services.domain.journey.model import Json

UNKNOWN: Final = "?"  # the type of an activity that the API does not know
OMIT: Final = "\x00omit"  # a target that nobody can name


@dataclass(frozen=True, slots=True)
class Share:
    """One arm of a random split: its place in the source, and its weight in percent."""

    index: int
    target: str
    percent: float


def read_activity(name: str, raw: Json, path: str, notes: Notes, options: Options) -> Activity:
    """One activity, whatever its value is."""
    members = raw if isinstance(raw, dict) else {}
    known = [kind for kind in ACTIVITIES if members.get(kind) is not None]
    strange = [member for member in members if member not in ACTIVITY.members and members[member] is not None]
    if not known and (strange or not isinstance(raw, dict)):
        notes.drop("activity_type_unknown", strange[0] if strange else "Activity", path, raw)
        return Activity(name, UNKNOWN, {}, (), path, raw)
    activity = fitted(members, ACTIVITY, path, notes) or {}
    kinds = [kind for kind in ACTIVITIES if kind in activity]
    for kind in kinds[1:]:
        notes.drop("activity_type_ambiguous", kind, step_into(path, kind), activity[kind], f"{kinds[0]} and {kind}.")
    if not kinds:
        return Activity(name, None, activity, (), path, raw)
    kind = kinds[0]
    body = {**activity[kind], "Description": activity.get("Description")}
    return Activity(name, kind, body, _ways(kind, body, options), path, raw)


def _ways(kind: str, body: Mapping[str, Any], options: Options) -> Sequence[Way]:
    match kind:
        case "ConditionalSplit":
            return [(f"{kind}/{member}", body.get(member, EXIT)) for member in ("TrueActivity", "FalseActivity")]
        case "MultiCondition":
            arms = [
                (f"{kind}/Branches/{i}/NextActivity", arm.get("NextActivity", EXIT))
                for i, arm in enumerate(body.get("Branches", ()))
                if arm
            ]
            return [*arms, (f"{kind}/DefaultActivity", body.get("DefaultActivity", EXIT))]
        case "RandomSplit":
            return [(f"{kind}/Branches/{share.index}/NextActivity", share.target) for share in shares_of(body)]
        case "Holdout" if held_percent(body) >= 100:
            return []
        case _:
            return [(f"{kind}/NextActivity", body.get("NextActivity", EXIT))]


def shares_of(body: Mapping[str, Any]) -> list[Share]:
    """The arms of a random split that anybody takes, their percentages scaled to 100 and the missing ones shared out."""
    branches = body.get("Branches", [])
    given = [given_percent(arm) for arm in branches]
    total = sum(percent for percent in given if percent is not None)
    missing = given.count(None)
    rest = max(0.0, 100 - total) / missing if missing else 0.0
    percents = [rest if percent is None else percent for percent in given]
    total = sum(percents)
    if not total:
        percents, total = [1.0] * len(branches), float(len(branches))
    scaled = [_whole(percent * 100 / total) for percent in percents]
    return [
        Share(i, arm.get("NextActivity", EXIT), percent)
        for i, (arm, percent) in enumerate(zip(branches, scaled, strict=True))
        if percent > 0
    ]


def given_percent(arm: Mapping[str, Any]) -> float | None:
    """What an arm's Percentage says; None if it is missing or negative."""
    percent = arm.get("Percentage")
    return percent if isinstance(percent, int | float) and 0 <= percent <= 1e9 else None


def held_percent(body: Mapping[str, Any]) -> float:
    """The share that a holdout keeps back, 0 to 100; 0 where it is missing or negative."""
    percent = given_percent(body)
    return 0 if percent is None else min(percent, 100)


def forward_of(activity: Activity, flow_target: str, options: Options) -> str | None:
    """Where an activity that is no step of its own leads, None if it is one; `flow_target` is its first way's."""
    match activity.kind:
        case None:
            return EXIT
        case "?":
            return OMIT
        case "SMS":
            return flow_target if options.sms == "skip" else None
        case "ContactCenter":
            return flow_target
        case "Wait":
            return flow_target if is_over(activity.body.get("WaitTime", {}), options) else None
        case "Holdout":
            percent = held_percent(activity.body)
            return flow_target if not percent else EXIT if percent >= 100 else None
        case "RandomSplit":
            return flow_target if len(activity.ways) < 2 else None
        case _:
            return None


def is_over(wait: Mapping[str, Any], options: Options) -> bool:
    """Whether a wait lasts no time, or ended before now."""
    if "WaitFor" in wait:
        length = read_length(wait["WaitFor"])
        return length is not None and not length.ms
    moment = read_moment(wait.get("WaitUntil"))
    return moment is not None and moment.ms <= options.now_ms


def _whole(number: float) -> float:
    return int(number) if float(number).is_integer() else round(number, 6)
