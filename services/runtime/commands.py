"""Things asked of one person's executions from outside: start, dispatch, abort, retry.

Law: what is asked is appended to the log first, so it takes the person's lane and survives us; the reply comes
from that lane after the commit. Source: runtime design 4 (Commands).
"""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

from journeys.events.v1.command_record_pb2 import CommandRecord, ExecutionCommand, ProfileChangedCommand, StartCommand
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain import ids
from services.domain.errors import Late, Missing, NotNow
from services.domain.execution.execution import Execution
from services.domain.execution.lifecycle import Status
from services.domain.execution.version import Version
from services.infra.clock import Clock
from services.infra.documents.port import Documents
from services.infra.log.port import Log, Record
from services.runtime.catalog import Catalog
from services.runtime.collections import AUDIT, COMMAND_RESULTS, COMMANDS, EXECUTIONS, CommandResult
from services.runtime.engine import Engine
from services.runtime.erasure_documents import Marks, start_of
from services.runtime.lanes import log_key, subject_of
from services.runtime.refused_starts import REASON, refused_starts

REPLY_SECONDS = 8.0
SEEN_SECONDS = 3.0
FIRST_LOOK_SECONDS, LOOK_SECONDS = 0.02, 0.25  # between looks at the store, doubling


class Commands:
    """Appends commands and awaits their replies."""

    def __init__(
        self, documents: Documents, log: Log, catalog: Catalog, engine: Engine, clock: Clock, marks: Marks
    ) -> None:
        self._marks = marks
        self._documents = documents
        self._log = log
        self._catalog = catalog
        self._engine = engine
        self._clock = clock

    async def start(
        self, workspace: str, journey_id: str, event: CustomerEvent, source: str, actor: str
    ) -> tuple[str, bool, str | None]:
        """Decide a start: (execution id, whether it started now, why not).

        Raises Missing (journey), NotNow `illegal_transition` (manual start of a journey that is not published).
        """
        await self._catalog.refresh()
        journey = self._catalog.journey(workspace, journey_id)
        if journey is None:
            raise Missing("journey", journey_id)
        if (
            journey.latest_version == 0
            or journey.status == "archived"
            or (source == "manual" and journey.status != "published")
        ):
            raise NotNow("illegal_transition", f"The journey is {journey.status}: nobody can be started in it.")
        version = self._catalog.version(workspace, journey_id, journey.latest_version)
        asked = CustomerEvent()
        asked.CopyFrom(event)
        asked.id = event.id or uuid4().hex
        asked.type = event.type or (version.contract.event_name if version and version.contract else "manual")
        asked.project_key = workspace
        asked.received_ms = self._clock.now_ms()
        if await self._marks.forgotten([(workspace, asked.end_user_id)]):
            # Before the log: a command would carry the id there again.
            await self._log.append(AUDIT, self._refused(version, asked))
            return _execution_id(journey_id, journey.latest_version, asked), False, REASON
        if await self._is_spent(journey_id, asked):
            return _execution_id(journey_id, journey.latest_version, asked), False, "duplicate"
        command = CommandRecord(
            id=uuid4().hex,
            workspace=workspace,
            end_user_id=asked.end_user_id,
            start=StartCommand(journey_id=journey_id, event=asked, source=source),
        )
        result = await self._ask(command)
        if result.outcome == "missing":
            raise Missing("journey", journey_id)
        execution_id = result.execution_id or _execution_id(journey_id, journey.latest_version, asked)
        return execution_id, result.outcome == "started", result.reason

    async def dispatch(self, workspace: str, execution_id: str) -> tuple[Execution, bool]:
        """Do whatever is due for one execution now: (the execution, whether it moved). Raises Missing."""
        before = await self._find(workspace, None, execution_id)
        result = await self._ask(
            CommandRecord(
                id=uuid4().hex,
                workspace=workspace,
                end_user_id=before.subject_id,
                dispatch=ExecutionCommand(execution_id=execution_id, actor="system"),
            )
        )
        return await self._find(workspace, None, execution_id), result.outcome == "done"

    async def abort(self, workspace: str, journey_id: str, execution_id: str, actor: str) -> Execution:
        """End a running execution; ending it again is no fault. Raises Missing, NotNow."""
        before = await self._find(workspace, journey_id, execution_id)
        if before.status is Status.ABORTED:
            return before
        result = await self._ask(
            CommandRecord(
                id=uuid4().hex,
                workspace=workspace,
                end_user_id=before.subject_id,
                abort=ExecutionCommand(execution_id=execution_id, actor=actor, reason="aborted"),
            )
        )
        return await self._changed(workspace, journey_id, execution_id, result, "aborted")

    async def retry(self, workspace: str, journey_id: str, execution_id: str, actor: str) -> Execution:
        """Set a parked or failed execution going again. Raises Missing, NotNow."""
        before = await self._find(workspace, journey_id, execution_id)
        result = await self._ask(
            CommandRecord(
                id=uuid4().hex,
                workspace=workspace,
                end_user_id=before.subject_id,
                retry=ExecutionCommand(execution_id=execution_id, actor=actor),
            )
        )
        return await self._changed(workspace, journey_id, execution_id, result, "retried")

    async def profiles_changed(self, workspace: str, end_user_ids: Sequence[str]) -> None:
        """Let the lanes of these people look again: at conditions that are waited for, and at who belongs.

        Of one person's change it returns once their lane has looked, where that can be known here: somebody who
        leaves an audience by one request and comes back by the next has left it in between.
        """
        commands = [
            CommandRecord(
                id=uuid4().hex,
                workspace=workspace,
                end_user_id=end_user_id,
                profile_changed=ProfileChangedCommand(is_bulk=len(end_user_ids) > 1),
            )
            for end_user_id in end_user_ids
        ]
        seen = self._engine.seen(commands[0].id, workspace, end_user_ids[0]) if len(commands) == 1 else None
        records = [Record(log_key(workspace, one.end_user_id), one.SerializeToString()) for one in commands]
        await self._log.append(COMMANDS, records)
        if seen is not None:
            await asyncio.wait([seen], timeout=SEEN_SECONDS)
            seen.cancel()

    def _refused(self, version: Version | None, event: CustomerEvent) -> list[Record]:
        info = self._catalog.workspace(event.project_key)
        if version is None or info is None:
            return []
        return refused_starts((version,), info.subject_secret, event.id, event.type, event.received_ms)

    async def _changed(
        self, workspace: str, journey_id: str, execution_id: str, result: CommandResult, verb: str
    ) -> Execution:
        if result.outcome == "missing":
            raise Missing("execution", execution_id)
        after = await self._find(workspace, journey_id, execution_id)
        if result.outcome == "unchanged" and not (verb == "aborted" and after.status is Status.ABORTED):
            raise NotNow("illegal_transition", f"An execution that is {after.status} cannot be {verb}.")
        return after

    async def _is_spent(self, journey_id: str, event: CustomerEvent) -> bool:
        """Whether that start was decided before the person was forgotten: it is not decided anew."""
        info = self._catalog.workspace(event.project_key)
        if info is None or not event.id:
            return False
        subject = subject_of(event.project_key, info.subject_secret, event.end_user_id)
        start = start_of(journey_id, event.id)
        return bool(await self._marks.spent([(subject.key, info.subject_secret, start)]))

    async def _ask(self, command: CommandRecord) -> CommandResult:
        reply = self._engine.expect(command.id)
        try:
            key = log_key(command.workspace, command.end_user_id)
            await self._log.append(COMMANDS, [Record(key, command.SerializeToString())])
            return await asyncio.wait_for(self._answer(command.id, reply), REPLY_SECONDS)
        except TimeoutError:
            raise Late("The command is in the log; its reply did not come in time.") from None
        finally:
            reply.cancel()

    async def _answer(self, command_id: str, reply: "asyncio.Future[CommandResult]") -> CommandResult:
        """From our own lanes, or from the store where another process owns the person."""
        pause = FIRST_LOOK_SECONDS
        while True:
            done, _ = await asyncio.wait([reply], timeout=pause)
            if done:
                return reply.result()
            if (kept := await self._documents.get(COMMAND_RESULTS, command_id)) is not None:
                return kept
            pause = min(2 * pause, LOOK_SECONDS)

    async def _find(self, workspace: str, journey_id: str | None, execution_id: str) -> Execution:
        info = self._catalog.workspace(workspace)
        if info is None:
            await self._catalog.refresh()
            info = self._catalog.workspace(workspace)
        try:
            journey, _, end_user_id, _ = ids.parts_of(execution_id)
        except ValueError:
            raise Missing("execution", execution_id) from None
        if info is None or (journey_id is not None and journey != journey_id):
            raise Missing("execution", execution_id)
        subject = subject_of(workspace, info.subject_secret, end_user_id)
        key = ids.execution_key(subject.slot, info.subject_secret, workspace, execution_id)
        found = await self._documents.get(EXECUTIONS, key)
        if found is None or found.status in (Status.REFUSED, Status.HOLDOUT):
            raise Missing("execution", execution_id)
        return found


def _execution_id(journey_id: str, version: int, event: CustomerEvent) -> str:
    return ids.execution_id(journey_id, version, event.end_user_id, event.id)
