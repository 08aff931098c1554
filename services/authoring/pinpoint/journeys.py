"""One journey translated: its graph repaired, its steps in order, its rules, and all it was.

Law: whatever the journey, it ends as an object of the bundle or in `unsupported`, and says why. Its own activities,
as they came, stay in its extensions.
Source: pinpoint design 4 to 6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.authoring.pinpoint.activities import OMIT, UNKNOWN, forward_of, is_over, read_activity
from services.authoring.pinpoint.conditions import Messages
from services.authoring.pinpoint.entry import Entry, entry_of
from services.authoring.pinpoint.flow import EXIT, Activity, Flow, Order, roots_of, walked
from services.authoring.pinpoint.identity import free_id, source_id_of, step_ids
from services.authoring.pinpoint.library import MAX_TITLE, Found, Library
from services.authoring.pinpoint.notes import Notes, step_into
from services.authoring.pinpoint.rules import say_state, settings_of, state_of
from services.authoring.pinpoint.shapes import JOURNEY, fitted
from services.authoring.pinpoint.steps import Step, Ways, Workshop, say_skipped
from services.domain.journey.model import Json

MAX_ACTIVITIES: Final = 1_000
MAX_ARMS: Final = 1_000  # of one activity, or conditions of one split; Pinpoint's console makes 5
MAX_DESCRIPTION: Final = 20_000
_SENDS: Final = ("EMAIL", "PUSH")


@dataclass(frozen=True, slots=True)
class Translated:
    """What became of one journey: the objects (one for each event that starts it), and whether anything can run."""

    journeys: tuple[dict[str, Json], ...]
    is_empty: bool = False


def translate_journey(found: Found, source_id: str, library: Library) -> Translated:
    """Translate one journey, which is a JSON object with a name or activities."""
    ref = library.ref("journey", source_id)
    notes = library.notes.of(ref)
    journey = fitted(found.value, JOURNEY, found.path, notes) or {}
    raw = journey.pop("Activities", {})
    at = step_into(found.path, "Activities")
    if "" in raw:
        notes.drop("unknown_member", "", at, raw.pop(""), "An activity needs an id.")
    if len(raw) > MAX_ACTIVITIES:
        notes.drop("payload_too_large", "Journey", at, found.value, f"It has {len(raw):,}.")
        return Translated(())
    if any(_is_huge(activity) for activity in raw.values()):
        notes.drop("payload_too_large", "Journey", at, found.value, f"An activity has more than {MAX_ARMS:,} arms.")
        return Translated(())
    if not raw:
        notes.drop("journey_empty", "Journey", found.path, found.value, "It has no activities.")
        return Translated((), is_empty=True)
    graph = _Graph(raw, at, library, notes)
    starts, is_known = graph.starts(journey.get("StartActivity"), step_into(found.path, "StartActivity"))
    flow = walked(graph.activities, starts)
    plan = _Plan(graph, flow, starts, library)
    entry = entry_of(journey, found.path, source_id, library, notes)
    workshop = Workshop(library, plan.ways(), plan.messages(), source_id)
    inner = plan.steps(workshop, notes)
    plan.say_repairs(notes)
    is_empty = is_known and not inner
    if is_empty:
        notes.say("journey_empty", at)
    settings = settings_of(journey, found.path, notes)
    say_state(state_of(journey), found.path, notes)
    notes.say("goal_missing", found.path)
    notes.keep_whole("Journey", found.path, found.value)
    extensions = _extensions(journey, plan, workshop)
    trigger = {"id": plan.trigger_id, **entry.trigger, **(plan.start_member() if is_known else {})}
    steps = [trigger, *inner, {"id": plan.exit_id, "type": "exit"}]
    made = _objects(journey, source_id, ref, entry, steps, settings, extensions, library)
    return Translated(made, is_empty)


def _is_huge(activity: Json) -> bool:
    """Whether an activity has more arms or conditions than anybody can have drawn."""
    if not isinstance(activity, dict):
        return False
    for kind in ("MultiCondition", "RandomSplit", "ConditionalSplit"):
        body = activity.get(kind)
        if isinstance(body, dict):
            condition = body.get("Condition")
            lists = [body.get("Branches"), condition.get("Conditions") if isinstance(condition, dict) else None]
            if any(isinstance(found, list) and len(found) > MAX_ARMS for found in lists):
                return True
    return False


class _Graph:
    """The activities as read, each with what was said of it."""

    def __init__(self, raw: Mapping[str, Json], path: str, library: Library, notes: Notes) -> None:
        self.path = path
        self._notes = notes
        self.step_ids = step_ids(raw)
        self.said: dict[str, Notes] = {}
        self.activities: dict[str, Activity] = {}
        for name, value in raw.items():
            own = self.said[name] = notes.buffered(self.step_ids[name])
            self.activities[name] = read_activity(name, value, step_into(path, name), own, library.options)

    def starts(self, given: str | None, path: str) -> tuple[list[str], bool]:
        """Where the walk begins, and whether that is where people begin."""
        if given and given in self.activities:
            return [given], True
        roots = roots_of(self.activities)
        if len(roots) == 1:
            self._notes.say("start_activity_inferred", path, f"It is {roots[0][:80]!r}.")
            return roots, True
        self._notes.say("start_activity_unknown", path)
        return roots or sorted(self.activities)[:1], False


class _Plan:
    """Which activity is which step, and where everything leads."""

    def __init__(self, graph: _Graph, flow: Flow, starts: list[str], library: Library) -> None:
        self._graph, self._flow, self._starts, self._library = graph, flow, starts, library
        activities, options = graph.activities, library.options
        self._forward: dict[str, str | None] = {}
        for name in flow.order:
            one = activities[name]
            first = flow.targets[name, one.ways[0][0]] if one.ways else EXIT
            self._forward[name] = forward_of(one, first, options)
        taken = {graph.step_ids[name] for name in flow.order if self._forward[name] is None}
        self.trigger_id = free_id("trigger", taken)
        self.exit_id = free_id("exit", {*taken, self.trigger_id})
        used = {*taken, self.trigger_id, self.exit_id}
        self._waits: dict[str, str] = {}
        for name in flow.order:
            wait = activities[name].body.get("EvaluationWaitTime")
            if wait and self._forward[name] is None and not is_over(wait, options):
                self._waits[name] = free_id(f"{graph.step_ids[name]}__wait", used)
                used.add(self._waits[name])
        # An early wait is the split itself: nothing stands before it.
        self._skipped_waits: set[str] = set()

    def ways(self) -> Ways:
        """How steps name each other."""
        return Ways(
            lambda activity, way, member: self._member(
                member, EXIT if way == EXIT else self._flow.targets[activity.id, way]
            ),
            lambda activity: self._graph.step_ids[activity.id],
            lambda activity: self._waits.get(activity.id),
        )

    def messages(self) -> Any:
        """How conditions see the journey's activities, for one that asks."""
        order = Order(self._graph.activities, self._flow)
        options = self._library.options

        def kind(name: str) -> str | None:
            one = self._graph.activities.get(name)
            return None if one is None else one.kind

        def step(name: str) -> str | None:
            sends = (*_SENDS, "SMS") if options.sms == "email" else _SENDS
            is_here = name in self._forward and kind(name) in (*sends, "CUSTOM")
            return self._graph.step_ids[name] if is_here else None

        return lambda activity: Messages(kind, step, lambda name: order.is_before(name, activity.id))

    def steps(self, workshop: Workshop, notes: Notes) -> list[Step]:
        """Every step but trigger and exit, in the order of the walk."""
        found: list[Step] = []
        for name in self._flow.order:
            activity = self._graph.activities[name]
            own = notes.at_step(self._graph.step_ids[name])
            self._tell(name, notes)
            if self._forward[name] is None:
                made = workshop.steps_of(activity, own)
                if len(made) == 1:
                    self._skipped_waits.add(name)
                found.extend(made)
            else:
                say_skipped(activity, own, is_start=name in self._starts)
        early = {self._waits[name]: self._graph.step_ids[name] for name in self._skipped_waits if name in self._waits}
        if early:
            _redirect(found, early)
            for name in self._skipped_waits:
                self._waits.pop(name, None)
        return found

    def say_repairs(self, notes: Notes) -> None:
        """Say what was mended and what is left out."""
        for code, ways in (("dangling_next", self._flow.dangling), ("cycle_broken", self._flow.broken)):
            for name, way in ways:
                own = notes.at_step(self._graph.step_ids[name])
                own.say(code, step_into(self._graph.path, name, *way.split("/")))
        for name, activity in self._graph.activities.items():
            if name not in self._forward:
                own = notes.at_step(self._graph.step_ids[name])
                own.drop("unreachable_activity", activity.kind or "Activity", activity.path, activity.source)

    def start_member(self) -> dict[str, str]:
        """The trigger's `next`; none where the start was never filled in or is of no known type."""
        start = self._starts[0]
        if self._graph.activities[start].kind in (None, UNKNOWN):
            return {}
        return self._member("next", start)

    def activities(self) -> dict[str, Json]:
        """Each activity as it came, with its steps and where it leads: null is the exit. For the fidelity report."""
        listed: dict[str, Json] = {}
        for name, activity in self._graph.activities.items():
            one: dict[str, Json] = {"type": activity.kind, "step": self._graph.step_ids[name]}
            if name in self._forward:
                targets = self._flow.next_of(name, activity.ways) or [EXIT]
                if activity.kind == "Holdout" and self._forward[name] is None:
                    targets = [EXIT, *targets]
                one |= {"next": [target or None for target in targets], "source": activity.source}
                own = [self._graph.step_ids[name]] if self._forward[name] is None else []
                one["steps"] = [self._waits[name], *own] if name in self._waits else own
            listed[name] = one
        return listed

    @property
    def starts(self) -> list[str]:
        """Where the walk began."""
        return self._starts

    def _tell(self, name: str, notes: Notes) -> None:
        said = self._graph.said[name]
        notes.diagnostics.extend(said.diagnostics)
        notes.unsupported.extend(said.unsupported)

    def _member(self, member: str, target: str) -> dict[str, str]:
        step = self._entry(target)
        return {} if step is None else {member: step}

    def _entry(self, target: str) -> str | None:
        """The step at which a way to an activity arrives: over all that are skipped, and at the wait before a split."""
        while target != EXIT:
            if target == OMIT:
                return None
            forward = self._forward[target]
            if forward is None:
                return self._waits.get(target) or self._graph.step_ids[target]
            target = forward
        return self.exit_id


def _redirect(steps: list[Step], renamed: Mapping[str, str]) -> None:
    for step in steps:
        ways: list[Any] = [step, *step.get("branches", ()), *step.get("arms", ())]
        for holder in ways:
            for member in ("next", "default", "onTimeout"):
                if holder.get(member) in renamed:
                    holder[member] = renamed[holder[member]]


def _extensions(journey: Mapping[str, Any], plan: _Plan, workshop: Workshop) -> dict[str, Json]:
    kept = {name[0].lower() + name[1:]: value for name, value in journey.items()}
    kept["activities"] = plan.activities()
    kept["starts"] = plan.starts
    if workshop.webhooks:
        kept["webhooks"] = dict(workshop.webhooks)
    return {"pinpoint": kept}


def _objects(
    journey: Mapping[str, Any],
    source_id: str,
    ref: str,
    entry: Entry,
    steps: list[Step],
    settings: dict[str, Json],
    extensions: dict[str, Json],
    library: Library,
) -> tuple[dict[str, Json], ...]:
    name = (journey.get("Name") or source_id).strip() or "Journey"
    description = journey.get("StartCondition", {}).get("Description", "")
    made: list[dict[str, Json]] = []
    for i, (event, contract) in enumerate(entry.contracts):
        copy_id = f"{source_id}#{event}" if i else source_id
        title = f"{name[: MAX_TITLE - 100]} ({event[:90]})" if len(entry.contracts) > 1 else name[:MAX_TITLE]
        made.append(
            {
                "ref": library.ref("journey", copy_id) if i else ref,
                "sourceId": source_id_of(copy_id),
                "name": title,
                "description": description[:MAX_DESCRIPTION],
                "audienceRef": entry.audience_ref,
                "triggerContractRef": contract,
                "goalEventName": None,
                "steps": steps,
                "settings": settings,
                "sourceState": state_of(journey),
                "extensions": extensions,
            }
        )
    return tuple(made)
