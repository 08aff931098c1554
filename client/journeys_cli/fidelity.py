"""How faithfully a bundle says what Pinpoint did: each activity, what became of it, and how many ways lead through it.

Law: everything is read from the bundle; a bundle that was edited by hand, or of another kind, gives a shorter report,
never an error. Paths are counted, not walked: a graph of forty splits has more of them than there are people.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

EXACT: Final = "exact"
APPROXIMATED: Final = "approximated"
UNSUPPORTED: Final = "unsupported"
VERDICTS: Final = (EXACT, APPROXIMATED, UNSUPPORTED)
_RANK: Final = {"lossless": 0, "approximated": 1, "unsupported": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One diagnostic: severity error, warning or info."""

    code: str
    severity: str
    message: str
    path: str


@dataclass(frozen=True, slots=True)
class ActivityReport:
    """One activity. `paths` of the journey's paths lead through it; None where they cannot be counted."""

    id: str
    type: str
    verdict: str
    paths: int | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class JourneyReport:
    """One journey of the bundle."""

    name: str
    source_id: str
    completeness: str
    paths: int | None
    activities: tuple[ActivityReport, ...]
    findings: tuple[Finding, ...]  # of the journey as a whole
    blockers: tuple[str, ...]

    def count(self, verdict: str) -> int:
        """How many activities have a verdict."""
        return sum(activity.verdict == verdict for activity in self.activities)


@dataclass(frozen=True, slots=True)
class ProjectReport:
    """A whole bundle."""

    application_id: str
    is_partial: bool
    journeys: tuple[JourneyReport, ...]
    elsewhere: tuple[tuple[str, tuple[Finding, ...]], ...]  # audiences, communications, journeys left out, the file
    kept_aside: int

    def count(self, verdict: str) -> int:
        """How many activities of all journeys have a verdict."""
        return sum(journey.count(verdict) for journey in self.journeys)


def report_of(bundle: Mapping[str, Any]) -> ProjectReport:
    """The report of a bundle."""
    said: dict[str, dict[str | None, list[Mapping[str, Any]]]] = {}
    for one in _objects(bundle.get("diagnostics")):
        said.setdefault(str(one.get("objectRef") or ""), {}).setdefault(one.get("stepId"), []).append(one)
    names = {
        str(one.get("ref")): str(one.get("name")) for section in _SECTIONS for one in _objects(bundle.get(section))
    }
    journeys = _objects(bundle.get("journeys"))
    told = {str(journey.get("ref")) for journey in journeys}
    left_out = {str(one.get("path")): _name_in(one.get("payload")) for one in _objects(bundle.get("unsupported"))}
    elsewhere = []
    for ref, steps in said.items():
        if ref not in told:
            found = [one for group in steps.values() for one in group]
            named = (left_out.get(str(one.get("path"))) for one in found)
            name = names.get(ref) or next((name for name in named if name), ref) if ref else "The file"
            elsewhere.append((name, _findings(found)))
    source = bundle.get("source")
    source = source if isinstance(source, Mapping) else {}
    return ProjectReport(
        str(source.get("applicationId") or "unknown"),
        source.get("partial") is True,
        tuple(_journey(journey, said) for journey in journeys),
        tuple(elsewhere),
        len(_objects(bundle.get("unsupported"))),
    )


def paths_through(activities: Mapping[str, Sequence[str | None]], starts: Iterable[str]) -> dict[str, int] | None:
    """How many paths from the starts to an exit lead through each activity; None if the graph has a circle.

    `activities` gives the next ones of each, None for an exit; an unknown one is an exit too.
    """
    ways = {name: [to if to in activities else None for to in targets] for name, targets in activities.items()}
    order = _ordered(ways)
    if order is None:
        return None
    into = dict.fromkeys(ways, 0)
    for start in starts:
        if start in into:
            into[start] += 1
    for name in order:
        for target in ways[name]:
            if target is not None:
                into[target] += into[name]
    out = dict.fromkeys(ways, 0)
    for name in reversed(order):
        out[name] = sum(1 if target is None else out[target] for target in ways[name])
    return {name: into[name] * out[name] for name in ways}


def _ordered(ways: Mapping[str, Sequence[str | None]]) -> list[str] | None:
    waiting = dict.fromkeys(ways, 0)
    for targets in ways.values():
        for target in targets:
            if target is not None:
                waiting[target] += 1
    ready = [name for name, count in waiting.items() if not count]
    order = []
    while ready:
        name = ready.pop()
        order.append(name)
        for target in ways[name]:
            if target is not None:
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
    return order if len(order) == len(ways) else None


_SECTIONS: Final = ("audiences", "triggerContracts", "communications", "journeys")


def _journey(
    journey: Mapping[str, Any], said: Mapping[str, Mapping[str | None, list[Mapping[str, Any]]]]
) -> JourneyReport:
    own = said.get(str(journey.get("ref")), {})
    pinpoint = _inside(journey, "extensions", "pinpoint")
    listed = {name: one for name, one in _inside(pinpoint, "activities").items() if isinstance(one, Mapping)}
    steps = {str(step.get("id")): step for step in _objects(journey.get("steps"))}
    graph = {name: _targets(one) for name, one in listed.items() if "next" in one}
    starts = [start for start in pinpoint.get("starts", ()) if isinstance(start, str)] if graph else []
    paths = paths_through(graph, starts)
    activities = []
    for name in _walked(graph, starts, listed):
        one = listed[name]
        step_id = one.get("step", name)
        found = list(own.get(step_id, ()))
        made = one.get("steps") or []
        for step in made if isinstance(made, list) else []:
            ref = steps.get(str(step), {}).get("communicationRef")
            found += [each for group in said.get(str(ref), {}).values() for each in group] if ref else []
        through = 0 if name not in graph else None if paths is None else paths[name]
        activities.append(
            ActivityReport(
                name, str(one.get("type") or "empty"), _verdict(found, bool(made)), through, _findings(found)
            )
        )
    described = {one.get("step", name) for name, one in listed.items()}
    rest = [each for step, group in own.items() if step not in described for each in group]
    blockers = [
        f"{one.get('code')}{' at ' + str(one['stepId']) if one.get('stepId') else ''}"
        for one in _objects(journey.get("publishBlockers"))
    ]
    return JourneyReport(
        str(journey.get("name")),
        str(journey.get("sourceId")),
        str(journey.get("completeness", "unknown")),
        None if paths is None else sum(paths[start] for start in starts if start in paths),
        tuple(activities),
        _findings(rest),
        tuple(blockers),
    )


def _walked(graph: Mapping[str, Sequence[str | None]], starts: Sequence[str], names: Iterable[str]) -> list[str]:
    """The activities as a person meets them, first ways first; those that nobody meets at the end."""
    order: dict[str, None] = {}
    stack = list(reversed(starts))
    while stack:
        name = stack.pop()
        if name in graph and name not in order:
            order[name] = None
            stack.extend(to for to in reversed(graph[name]) if to is not None)
    return [*order, *(name for name in names if name not in order)]


def _name_in(payload: Any) -> str | None:
    """The name of a journey or campaign that was kept aside whole."""
    name = payload.get("Name") if isinstance(payload, Mapping) else None
    return name if isinstance(name, str) else None


def _verdict(found: Iterable[Mapping[str, Any]], has_steps: bool) -> str:
    worst = 0
    for one in found:
        rank = _RANK.get(str(one.get("verdict")), 0)
        if one.get("code") == "unknown_member" and has_steps:
            rank = min(rank, 1)  # a stray member beside what was understood
        worst = max(worst, rank)
    return VERDICTS[worst]


def _findings(found: Iterable[Mapping[str, Any]]) -> tuple[Finding, ...]:
    return tuple(
        Finding(str(one.get("code")), str(one.get("severity")), str(one.get("message", "")), str(one.get("path", "")))
        for one in found
    )


def _targets(activity: Mapping[str, Any]) -> list[str | None]:
    targets = activity.get("next")
    return [to if isinstance(to, str) else None for to in targets] if isinstance(targets, list) else [None]


def _inside(value: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    found: Any = value
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
