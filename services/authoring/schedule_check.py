"""Whether a draft's schedule ever fires, and not too often.

Law: a rule is tried in a child process with a second of processor time, because some spin for ever; nothing of it is
computed here. Asked at publish alone: a draft is told of a rule's syntax only, and costs no child at every look.
Source: contract 2 (publish) and 2.1 (trigger, schedule); libraries 5.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from services.domain.errors import Fault
from services.domain.execution.occurrences import schedule_of, trial_of, zone_of_schedule
from services.domain.journey.model import Graph, Trigger
from services.domain.journey.recurrence import BadRule
from services.domain.times import MINUTE_MS
from services.infra.recurrence import CannotTell, attempt, occurrences

TRIED: Final = 100  # of the first moments


async def schedule_faults(graph: Graph, workspace_zone: str, now: int) -> list[Fault]:
    """`schedule_past` for a moment that lies behind us, `invalid_schedule` for a rule that cannot be followed."""
    faults: list[Fault] = []
    for i, step in enumerate(graph.steps):
        if isinstance(step, Trigger) and step.mode == "schedule":
            zone = zone_of_schedule(step, graph.settings, workspace_zone)
            if step.rrule is not None:
                said = await _said_of(step, zone, now)
                faults += [Fault(f"/steps/{i}/rrule", "invalid_schedule", said)] if said else []
            else:
                at = schedule_of(step, zone, now, occurrences).at
                if at is not None and at <= now:
                    message = "The moment lies in the past, so the journey would never start anybody."
                    faults.append(Fault(f"/steps/{i}/at", "schedule_past", message))
    return faults


async def _said_of(step: Trigger, zone: str, now: int) -> str | None:
    try:
        rule = trial_of(step, zone, now)
    except BadRule:
        return None  # the step's own check says it
    try:
        moments: Sequence[int] = await attempt(rule or "", zone, now, TRIED)
    except CannotTell as failure:
        return f"No moment of the rule could be found: {failure}. Perhaps it names a day that never comes."
    if not moments:
        return "The rule names no moment that is still to come."
    if any(later - earlier < MINUTE_MS for earlier, later in pairwise(moments)):
        return "The rule fires more often than once a minute."
    return None
