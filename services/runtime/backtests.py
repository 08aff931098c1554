"""Backtests: a version walked by the events of a past stretch of time, in the background.

Law: reads only; what it writes is its own document. People come one after the other, in the order of the event
records' index, so memory is one person's events however many there are. Profiles, suppressions and audiences are
today's: nobody kept those of then. A person of whom only events are known walks with an empty profile.
Source: contract 5 (Backtest).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import uuid4

import msgspec
import structlog

from services.domain.errors import Fault, Invalid, Missing, TooMuch
from services.domain.execution import admission
from services.domain.execution.backtest import Counting, RecordedEvent, Tally, Watching, play
from services.domain.execution.execution import Execution, Occasion
from services.domain.execution.lifecycle import Status
from services.domain.execution.simulate import DryRun, FixedScript
from services.domain.execution.version import Version
from services.domain.ids import SLOTS
from services.infra.clock import Clock
from services.infra.documents.port import Collection, Documents, Index, StaleRevision, StoreUnavailable
from services.infra.log.port import LogUnavailable
from services.runtime.acks import Acks
from services.runtime.catalog import Catalog, WorkspaceInfo
from services.runtime.collections import EVENT_RECORDS, EXECUTIONS, MESSAGES, EventRecord
from services.runtime.desk import Desk, Loaded, RenderAt, data_of
from services.runtime.lanes import subject_of
from services.runtime.rates import Rates
from services.runtime.simulation import Simulation, Walkable
from services.runtime.subject_documents import (
    SUBJECTS,
    SUPPRESSIONS,
    profile_of,
    subject_document_key,
    suppression_key,
)

PAGE: Final = 500
SIDE_BY_SIDE: Final = 2
MOST_EVENTS_OF_ONE: Final = 20_000
PEOPLE_AT_ONCE: Final = 50  # walked in one go, in a thread
TOLD_SECONDS: Final = 1.0
ABANDONED_MS: Final = 600_000
_log = structlog.get_logger(__name__)


class BacktestDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A backtest and how far it is. `status`: running, done, failed, cancelled."""

    key: str  # <workspace>:<journey>:<backtest id>
    created_at: int
    told_at: int
    status: str = "running"
    progress: float = 0.0
    result_json: bytes = b""
    error: str = ""
    revision: int = 1


BACKTESTS: Collection[BacktestDocument] = Collection(
    "backtests", BacktestDocument, indexes=(Index("by_age", ("created_at",)),)
)


@dataclass(frozen=True, slots=True)
class Window:
    """Events received from `starts_at` on and before `ends_at` (ms)."""

    starts_at: int
    ends_at: int


@dataclass(slots=True)
class _Person:
    """Somebody's events, gathered from the records. `cut`: how many more there were than are walked."""

    subject_key: str
    name: str
    events: list[RecordedEvent] = field(default_factory=list)
    within: int = 0
    cut: int = 0


class Backtests:
    """Starts, shows and cancels backtests. All may raise StoreUnavailable."""

    def __init__(
        self, documents: Documents, catalog: Catalog, clock: Clock, simulation: Simulation, render: RenderAt
    ) -> None:
        self._documents = documents
        self._catalog = catalog
        self._clock = clock
        self._simulation = simulation
        self._render = render
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, workspace: str, journey_id: str, walkable: Walkable, window: Window) -> str:
        """Begin one; its id. Raises Missing, Invalid (the window, or a draft that cannot run), TooMuch."""
        info = await self._simulation.workspace(workspace)
        _require_sound(walkable, window)
        version = self._simulation.prepared(workspace, journey_id, walkable).version
        if version is None:
            raise _unsound([Fault("/steps", "missing_exit", "There are no steps.")])
        if len(self._tasks) >= SIDE_BY_SIDE:
            raise TooMuch("rate_limited", f"{SIDE_BY_SIDE} backtests are running; wait for one to end.")
        now, backtest_id = self._clock.now_ms(), uuid4().hex
        document = BacktestDocument(key=_key(workspace, journey_id, backtest_id), created_at=now, told_at=now)
        await self._documents.insert(BACKTESTS, document)
        task = asyncio.create_task(self._see_through(document, info, version, window))
        self._tasks[document.key] = task
        task.add_done_callback(lambda _: self._tasks.pop(document.key, None))
        return backtest_id

    async def get(self, workspace: str, journey_id: str, backtest_id: str) -> BacktestDocument:
        """How far it is. Raises Missing."""
        document = await self._documents.get(BACKTESTS, _key(workspace, journey_id, backtest_id))
        if document is None:
            raise Missing("backtest", backtest_id)
        lost = document.key not in self._tasks and document.told_at + ABANDONED_MS < self._clock.now_ms()
        if document.status == "running" and lost:
            return msgspec.structs.replace(document, status="failed", error="Its server has ended.")
        return document

    async def cancel(self, workspace: str, journey_id: str, backtest_id: str) -> None:
        """End it, if it still runs. Raises Missing."""
        while True:
            document = await self.get(workspace, journey_id, backtest_id)
            if document.status != "running":
                return
            try:
                await self._tell(document, status="cancelled")
            except StaleRevision:
                continue  # it got on meanwhile
            task = self._tasks.get(document.key)
            if task is not None:
                task.cancel()
            return

    async def recover(self) -> None:
        """Those that a former process of this store was at have failed: nobody goes on with them."""
        cursor = None
        while True:
            page = await self._documents.scan(BACKTESTS, "", after=cursor, limit=PAGE)
            for document in page.items:
                if document.status == "running":
                    await self._tell(document, status="failed", error="Its server has ended.")
            if (cursor := page.cursor) is None:
                return

    async def close(self) -> None:
        """Leave those that run; the next process says that they failed."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _see_through(
        self, document: BacktestDocument, info: WorkspaceInfo, version: Version, window: Window
    ) -> None:
        try:
            work = _Work(self._documents, self._catalog, self._render, info, version, window)
            loop = asyncio.get_running_loop()
            told = loop.time()
            async for progress in work.run():
                if loop.time() - told >= TOLD_SECONDS:
                    told = loop.time()
                    document = await self._tell(document, progress=progress)
            result = msgspec.json.encode(await work.result())
            await self._tell(document, status="done", progress=1.0, result_json=result)
        except StaleRevision:
            pass  # cancelled, or forgotten by retention
        except (StoreUnavailable, LogUnavailable) as error:
            _log.warning("backtest.unavailable", error=str(error))
            await self._give_up(document, "The store was not available.")
        except Exception:  # noqa: BLE001  # it harms nobody but itself, and its author is told
            _log.exception("backtest.failed", key=document.key)
            await self._give_up(document, "It failed; the server's log says how.")

    async def _give_up(self, document: BacktestDocument, error: str) -> None:
        with suppress(StaleRevision, StoreUnavailable):
            await self._tell(document, status="failed", error=error)

    async def _tell(self, document: BacktestDocument, **changed: Any) -> BacktestDocument:
        now, revision = self._clock.now_ms(), document.revision + 1
        document = msgspec.structs.replace(document, told_at=now, revision=revision, **changed)
        await self._documents.replace(BACKTESTS, document)
        return document


class _Work:
    """One backtest on its way."""

    def __init__(
        self,
        documents: Documents,
        catalog: Catalog,
        render: RenderAt,
        info: WorkspaceInfo,
        version: Version,
        window: Window,
    ) -> None:
        self._documents = documents
        self._catalog = catalog
        self._render = render
        self._info = info
        self._version = version
        self._window = window
        self._tally = Tally()
        self._events = 0
        self._cut = 0
        self._journey = catalog.journey(version.workspace_id, version.journey_id)

    async def run(self) -> AsyncIterator[float]:
        """Walk everybody; how much is done, 0 to 1, now and then."""
        people: list[_Person] = []
        async for person in self._people():
            people.append(person)
            if len(people) == PEOPLE_AT_ONCE:
                await self._walk(people)
                yield int(person.subject_key[:4], 16) / SLOTS
                people = []
        await self._walk(people)

    async def result(self) -> dict[str, Any]:
        """What came of it, and what the journey did in the same stretch of time."""
        tally = self._tally
        return {
            "events": self._events,
            "entered": tally.entered,
            "reached": dict(sorted(tally.reached.items())),
            "gated": dict(sorted(tally.gated.items())),
            "messagesPerDay": [{"date": day, "count": count} for day, count in sorted(tally.messages.items())],
            "differenceToVersion": await self._difference(),
            "eventsLeftOut": self._cut,
        }

    async def _people(self) -> AsyncIterator[_Person]:
        """Everybody with events before the window's end, one after the other."""
        prefix, ends_at = f"{self._version.workspace_id}:", self._window.ends_at
        person: _Person | None = None
        cursor = None
        while True:
            page = await self._documents.scan(EVENT_RECORDS, "by_subject", after=cursor, limit=PAGE)
            for record in page.items:
                if record.subject_key is None or not record.key.startswith(prefix) or record.received_at >= ends_at:
                    continue
                if person is None or person.subject_key != record.subject_key:
                    if person is not None and person.within:
                        yield person
                    person = _Person(record.subject_key, record.end_user_id or record.subject_key)
                self._take(person, record)
            if (cursor := page.cursor) is None:
                break
        if person is not None and person.within:
            yield person

    def _take(self, person: _Person, record: EventRecord) -> None:
        is_within = record.received_at >= self._window.starts_at
        self._events += is_within
        if len(person.events) >= MOST_EVENTS_OF_ONE:
            self._cut += 1
            return
        person.within += is_within
        person.events.append(
            RecordedEvent(
                record.event_id,
                record.name,
                data_of(record.data_json),
                at=record.at,
                received_at=record.received_at,
                stated_at=record.stated_at,
            )
        )

    async def _walk(self, people: Sequence[_Person]) -> None:
        if not people:
            return
        workspace = self._version.workspace_id
        keys = {one.subject_key: subject_document_key(workspace, one.name) for one in people}
        documents = await self._documents.get_many(SUBJECTS, list(keys.values()))
        loaded: list[tuple[_Person, Loaded]] = []
        addresses = {document.key: document.email for document in documents.values() if document.email}
        suppressed = await self._suppressed(workspace, list(addresses.values()))
        for one in people:
            document = documents.get(keys[one.subject_key])
            profile = profile_of(document, one.name)
            gone = frozenset({profile.email.lower()}) & suppressed if profile.email else frozenset()
            loaded.append((one, self._loaded(workspace, one.name, profile, gone)))
        await asyncio.to_thread(self._play, loaded)

    async def _suppressed(self, workspace: str, addresses: Sequence[str]) -> frozenset[str]:
        keys = {suppression_key(workspace, address): address.lower() for address in addresses}
        found = await self._documents.get_many(SUPPRESSIONS, list(keys))
        return frozenset(keys[key] for key in found)

    def _loaded(self, workspace: str, name: str, profile: Any, suppressed: frozenset[str]) -> Loaded:
        return Loaded(
            subject=subject_of(workspace, self._info.subject_secret, name),
            info=self._info,
            profile=profile,
            executions={},
            suppressed=suppressed,
            events={},
            rules=self._catalog.rules(workspace),
            ledger=None,
            reservations=[],
        )

    def _play(self, people: Sequence[tuple[_Person, Loaded]]) -> None:
        starts_at, ends_at = self._window.starts_at, self._window.ends_at
        for person, loaded in people:
            desk = Desk(loaded, self._catalog, self._render, Acks(), Rates(), 0, starts_at)
            view = desk.view(self._version, "", starts_at, is_start=True)
            view = replace(view, journey_status="published", events=lambda name: (), witness=Watching(self._tally))
            run = DryRun(self._version, view, Counting(self._tally), self._render, FixedScript(()))
            play(run, person.events, self._fresh(loaded), person.name, starts_at, ends_at, self._tally)

    def _fresh(self, loaded: Loaded) -> Any:
        subject, journey = loaded.subject, self._journey

        def fresh(occasion: Occasion, now: int) -> Execution:
            return admission.fresh(
                self._version,
                occasion,
                subject.end_user_id,
                slot=subject.slot,
                subject_secret=loaded.info.subject_secret,
                goal=journey.goal if journey else None,
                now=now,
            )

        return fresh

    async def _difference(self) -> Mapping[str, Any] | None:
        """What was counted less what the journey really did; None for one that was never published."""
        journey = self._journey
        if journey is None or not journey.latest_version:
            return None
        workspace, journey_id = self._version.workspace_id, self._version.journey_id
        entered, messages, reached = 0, 0, Counter[str]()
        cursor = None
        low, high = self._window.starts_at, self._window.ends_at
        while True:
            runs = await self._documents.scan(
                EXECUTIONS, "by_journey", (workspace, journey_id), low=low, high=high, after=cursor, limit=PAGE
            )
            for run in runs.items:
                if run.status not in (Status.REFUSED, Status.HOLDOUT):
                    entered += 1
                    reached.update(run.visits.keys())
            if (cursor := runs.cursor) is None:
                break
        while True:
            sent = await self._documents.scan(
                MESSAGES, "by_journey", (workspace, journey_id), low=low, high=high, after=cursor, limit=PAGE
            )
            messages += sum(one.status == "sent" for one in sent.items)
            if (cursor := sent.cursor) is None:
                break
        tally = self._tally
        steps = sorted({*tally.reached, *reached})
        return {
            "version": journey.latest_version,
            "entered": tally.entered - entered,
            "reached": {step: tally.reached[step] - reached[step] for step in steps},
            "messages": tally.messages.total() - messages,
        }


def _require_sound(walkable: Walkable, window: Window) -> None:
    if window.starts_at >= window.ends_at:
        fault = Fault("/to", "out_of_range", "`to` must be later than `from`.")
        raise Invalid("validation_error", fault.message, [fault])
    if walkable.faults:
        raise _unsound(walkable.faults)


def _unsound(faults: Sequence[Fault]) -> Invalid:
    return Invalid("graph_invalid", "The draft cannot run; publishing it would say the same.", list(faults))


def _key(workspace: str, journey_id: str, backtest_id: str) -> str:
    return f"{workspace}:{journey_id}:{backtest_id}"
