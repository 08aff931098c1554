"""Why something happened to a person, or did not: what was decided, told from what was kept when it was decided.

Law: nothing is decided or looked up again. The start's checks, the gates of sends and the history stand in the
execution, refused starts are executions too, and the trace is told by the witness that tells dry runs. What came
again stands where it was found out: an event's repeats in its record, a start's in its execution.
A decision is told for 30 days, that to start for as long as its execution runs and 30 days more: what happened on
the way was decided too. Source: contract 4 (why); architecture 1.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.domain.execution.execution import Execution, checks_of
from services.domain.execution.lifecycle import Status
from services.domain.execution.repeats import Repeats
from services.domain.execution.simulate_trace import TraceEntry, Tracer
from services.domain.execution.version import Version
from services.domain.execution.walk import REFUSED_MS
from services.domain.times import format_time
from services.infra.clock import Clock
from services.infra.documents.port import Documents, Page
from services.runtime.catalog import Catalog
from services.runtime.collections import EVENT_RECORDS, EVENTS, EXECUTIONS, EventRecord
from services.runtime.lanes import subject_of
from services.runtime.paging import PageRequest, bad_cursor, page_of

TOLD_MS: Final = REFUSED_MS  # as long as refused starts are kept: the picture is whole, or there is none
_OUTCOMES = {Status.REFUSED: "blocked", Status.HOLDOUT: "held_out"}


@dataclass(frozen=True, slots=True)
class Decision:
    """One start that was decided, or came again. `outcome`: started, blocked, held_out, duplicate.

    `execution_id` is that of a start that was made, also for its duplicates. `checks` are those of the start, `steps`
    the way so far; a send's checks are the last its gate said.
    """

    at: int
    event_id: str
    event_type: str
    version: int
    outcome: str
    reason: str | None
    execution_id: str | None
    checks: Sequence[Mapping[str, Any]]
    steps: Sequence[TraceEntry]


class Why:
    """Reads decisions. May raise StoreUnavailable and LogUnavailable."""

    def __init__(self, documents: Documents, catalog: Catalog, clock: Clock) -> None:
        self._documents = documents
        self._catalog = catalog
        self._clock = clock

    async def decisions(
        self, workspace: str, journey_id: str, end_user_id: str, page: PageRequest, event_id: str | None = None
    ) -> Page[Decision]:
        """Those of one journey about one person, newest first. Raises Invalid for a foreign cursor.

        Pages follow the starts: what came again is on the page of the start it repeats.
        """
        info = await self._catalog.known(workspace)
        if info is None:
            return Page([])
        key = (subject_of(workspace, info.subject_secret, end_user_id).key, journey_id)
        told_before, cursor = _place_in(page.cursor)

        async def look(limit: int) -> Page[Execution]:
            asked = PageRequest(limit, cursor)
            keep = None if event_id is None else lambda one: one.trigger.event_id == event_id
            return await page_of(self._documents, EXECUTIONS, "by_subject", key, asked, keep, descending=True)

        found = await look(page.limit)
        next_cursor = found.cursor
        told: list[Decision] = []
        groups = [list(group) for group in await self._told(found.items)]
        for number, group in enumerate(groups):
            rest = group if number else group[told_before:]
            room = page.limit - len(told)
            told += rest[:room]
            if len(rest) > room:  # the next page goes on inside of this group
                before = (await look(number)).cursor if number else cursor
                shown = room if number else room + told_before
                next_cursor = f"{shown}.{before or ''}"
                break
        return Page(sorted(told, key=lambda one: -one.at), next_cursor)

    async def _told(self, executions: Sequence[Execution]) -> list[Iterator[Decision]]:
        """For each execution what is told of it, newest first."""
        since = self._clock.now_ms() - TOLD_MS
        keys = {f"{one.workspace_id}:{one.trigger.event_id}" for one in executions if _is_of_a_record(one)}
        records = await self._documents.get_many(EVENT_RECORDS, list(keys)) if keys else {}
        return [self._group(one, records, since) for one in executions]

    def _group(self, execution: Execution, records: Mapping[str, EventRecord], since: int) -> Iterator[Decision]:
        record = None
        if _is_of_a_record(execution):
            record = records.get(f"{execution.workspace_id}:{execution.trigger.event_id}")
        repeats = [one for one in (execution.repeats, record.repeats if record else None) if one is not None]
        first = self._first(execution)
        for at in sorted((at for one in repeats for at in one.last if at > since), reverse=True):
            yield _again(first, at, repeats)
        if execution.status is Status.RUNNING or (execution.ended_at or execution.started_at) > since:
            yield first

    def _first(self, execution: Execution) -> Decision:
        refusal = execution.refusal
        checks = checks_of(execution.gates.get("", ()))
        outcome = _OUTCOMES.get(execution.status, "started")
        version = self._catalog.version(execution.workspace_id, execution.journey_id, execution.journey_version)
        is_started = outcome == "started"
        return Decision(
            at=execution.started_at,
            event_id=execution.trigger.event_id,
            event_type=execution.trigger.type,
            version=execution.journey_version,
            outcome=outcome,
            reason=refusal.reason if refusal else None,
            execution_id=execution.execution_id if is_started else None,
            checks=checks or (refusal.checks if refusal else ()),
            steps=way_of(version, execution) if is_started and version is not None else (),
        )


def _is_of_a_record(execution: Execution) -> bool:
    """Whether repeats of the event's record are repeats of this start: an event made it, or came for it later."""
    if execution.trigger.source == "event":
        return True
    return execution.repeats is not None and EVENTS in execution.repeats.seen


def _again(first: Decision, at: int, repeats: Sequence[Repeats]) -> Decision:
    """It came again then. The one check that was made: whether it was known."""
    inputs = {
        "eventId": first.event_id,
        "decidedAt": format_time(first.at),
        "decision": first.outcome,
        "repeats": sum(one.count for one in repeats),
    }
    check = {"check": "duplicate", "passed": False, "reason": "duplicate", "inputs": inputs}
    return Decision(
        at=at,
        event_id=first.event_id,
        event_type=first.event_type,
        version=first.version,
        outcome="duplicate",
        reason="duplicate",
        execution_id=first.execution_id,
        checks=[check],
        steps=(),
    )


def _place_in(cursor: str | None) -> tuple[int, str | None]:
    """How much of the first group was told, and where the scan goes on. Raises Invalid."""
    told, dot, rest = (cursor or "").partition(".")
    if not dot:
        return 0, cursor
    if not (told.isascii() and told.isdecimal() and len(told) < 10):
        raise bad_cursor()
    return int(told), rest or None


def way_of(version: Version, execution: Execution) -> list[TraceEntry]:
    """The steps an execution has walked, in order, with what was decided at each.

    Of a history that was cut the first entries are missing, so a step may show only that it was entered.
    """
    tracer = Tracer(version)
    first: dict[str, int] = {}
    for entry in execution.history:
        first.setdefault(entry.step_id, entry.at)
    at = execution.started_at
    for step_id in execution.visits:
        at = max(at, first.get(step_id, at))
        tracer.entered(step_id, min(at, first.get(step_id, at)))
    for entry in execution.history:
        tracer.noted(entry.step_id, entry.at, entry.action, entry.detail)
    for key, kept in execution.gates.items():
        if (step := tracer.seen.get(key.rpartition("-")[0])) is not None:
            step.checks = checks_of(kept)
    for key, result in execution.results.items():
        if (step := tracer.seen.get(key.rpartition("-")[0])) is not None and result.state in ("failed", "unknown"):
            step.reason = result.reason or result.state
    return tracer.entries
