"""Why something happened to a person, or did not: what was decided, told from what was kept when it was decided.

Law: nothing is decided or looked up again. The start's checks, the gates of sends and the history stand in the
execution, refused starts are executions too, and the trace is told by the witness that tells dry runs.
Source: contract 4 (why); architecture 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.domain.execution.execution import Execution, checks_of
from services.domain.execution.lifecycle import Status
from services.domain.execution.simulate_trace import TraceEntry, Tracer
from services.domain.execution.version import Version
from services.infra.documents.port import Documents, Page
from services.runtime.catalog import Catalog
from services.runtime.collections import EXECUTIONS
from services.runtime.lanes import subject_of
from services.runtime.paging import PageRequest, page_of

_OUTCOMES = {Status.REFUSED: "blocked", Status.HOLDOUT: "held_out"}


@dataclass(frozen=True, slots=True)
class Decision:
    """One start that was decided. `outcome`: started, blocked, held_out; `execution_id` of one that was made.

    `checks` are those of the start, `steps` the way so far; a send's checks are the last its gate said.
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

    def __init__(self, documents: Documents, catalog: Catalog) -> None:
        self._documents = documents
        self._catalog = catalog

    async def decisions(
        self, workspace: str, journey_id: str, end_user_id: str, page: PageRequest, event_id: str | None = None
    ) -> Page[Decision]:
        """Those of one journey about one person, newest first. Raises Invalid for a foreign cursor."""
        info = await self._catalog.known(workspace)
        if info is None:
            return Page([])
        key = subject_of(workspace, info.subject_secret, end_user_id).key
        found = await page_of(
            self._documents,
            EXECUTIONS,
            "by_subject",
            (key, journey_id),
            page,
            None if event_id is None else lambda execution: execution.trigger.event_id == event_id,
            descending=True,
        )
        return Page([self._told(execution) for execution in found.items], found.cursor)

    def _told(self, execution: Execution) -> Decision:
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
