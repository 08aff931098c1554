"""The runtime put together: the only place of this service where concrete things are chosen."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
import structlog
from journeys.events.v1.command_record_pb2 import CommandRecord
from journeys.runtime.v1.backtest_service_pb2_grpc import add_BacktestServiceServicer_to_server
from journeys.runtime.v1.dead_letter_service_pb2_grpc import add_DeadLetterServiceServicer_to_server
from journeys.runtime.v1.erasure_service_pb2_grpc import add_ErasureServiceServicer_to_server
from journeys.runtime.v1.profile_service_pb2_grpc import add_ProfileServiceServicer_to_server
from journeys.runtime.v1.records_service_pb2_grpc import add_RecordsServiceServicer_to_server
from journeys.runtime.v1.runtime_service_pb2_grpc import add_RuntimeServiceServicer_to_server
from journeys.runtime.v1.simulation_service_pb2_grpc import add_SimulationServiceServicer_to_server
from journeys.runtime.v1.subject_service_pb2_grpc import add_SubjectServiceServicer_to_server
from journeys.runtime.v1.why_service_pb2_grpc import add_WhyServiceServicer_to_server

from services.domain.errors import Unavailable
from services.infra.clock import Clock
from services.infra.documents.port import Documents, StoreUnavailable
from services.infra.grpc.channel import connect, ping
from services.infra.liquid import TemplateFailed, render
from services.infra.log.port import Listener, Log, LogUnavailable, Subscription
from services.infra.outbound import Outbound, Targets
from services.infra.telemetry import Telemetry
from services.runtime.acks import Acks
from services.runtime.acts import Acts
from services.runtime.audience_evaluation import AudienceEvaluation
from services.runtime.backtest_servicer import BacktestServicer
from services.runtime.backtests import BACKTESTS, Backtests
from services.runtime.catalog import Catalog
from services.runtime.collections import COLLECTIONS, COMMANDS, EVENTS, TOPICS
from services.runtime.commands import Commands
from services.runtime.dead_letter_servicer import DeadLetterServicer
from services.runtime.dead_letters import DeadLetters
from services.runtime.dispatcher import Dispatcher
from services.runtime.engine import Engine
from services.runtime.erasure import Erasures
from services.runtime.erasure_documents import ERASURE_COLLECTIONS, Marks
from services.runtime.erasure_servicer import NAME as ERASURE_SERVICE
from services.runtime.erasure_servicer import ErasureServicer, Peers
from services.runtime.exploration import Exploration
from services.runtime.gaps import Gaps
from services.runtime.hook_calls import HookCalls
from services.runtime.ingestion import Ingestion
from services.runtime.intake import GATHER_SECONDS, Intake
from services.runtime.memberships import Memberships
from services.runtime.messages import Messages
from services.runtime.ownership import Ownership
from services.runtime.preferences import DEFAULT_URL, Links, Preferences
from services.runtime.queries import Queries
from services.runtime.records_servicer import RecordsServicer
from services.runtime.repeats import CountRepeats
from services.runtime.retention import Retention
from services.runtime.schedules import Schedules
from services.runtime.senders.choice import Senders
from services.runtime.senders.outcomes import Unregistered
from services.runtime.senders.port import Sender
from services.runtime.servicer import RuntimeServicer
from services.runtime.simulation import Simulation
from services.runtime.simulation_servicer import SimulationServicer
from services.runtime.subject_documents import SUBJECT_COLLECTIONS
from services.runtime.subject_servicer import ProfileServicer, SubjectServicer
from services.runtime.subjects import Subjects
from services.runtime.suppressions import Suppressions
from services.runtime.sweeps import Sweeps
from services.runtime.timers import Timers
from services.runtime.webhooks import WebhookCaller
from services.runtime.why import Why
from services.runtime.why_servicer import WhyServicer
from services.runtime.work import CommandItem

logger = structlog.get_logger(__name__)

GROUP = "runtime"
ANALYTICS_SECONDS = 5.0  # between looks whether allocations can be renewed, where any branch learns
SWEPT_AHEAD = 500  # items that wait in lanes or log while a sweep asks for another page
_HANDLING = 3  # the loops that handle what was taken come first: engine, acknowledgements, dispatcher


class Runtime:
    """The runtime service. `is_alone`: no other process can be at work on the same store."""

    name = "runtime"
    collections = (*COLLECTIONS, *SUBJECT_COLLECTIONS, *ERASURE_COLLECTIONS, BACKTESTS)
    topics = TOPICS

    def __init__(
        self,
        documents: Documents,
        log: Log,
        clock: Clock,
        *,
        senders: Mapping[str, Sender] | None = None,
        is_alone: bool = False,
        allow_private_hosts: Sequence[str] = (),
        telemetry: Telemetry | None = None,
        public_url: Callable[[], str] = lambda: DEFAULT_URL,
        analytics: Callable[[], str | None] = lambda: None,
        authoring: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._documents = documents
        self._log = log
        self._clock = clock
        self._is_alone = is_alone
        self._is_killed = False
        self._analytics_address = analytics
        self._analytics: grpc.aio.Channel | None = None
        self._telemetry = telemetry
        self.catalog = Catalog(log)
        self.acks = Acks()
        self.ownership = Ownership(documents, log, is_alone=is_alone)
        acts = Acts(log, self.catalog.known)
        self.marks = Marks(documents, self.catalog.known)
        self.subjects = Subjects(documents, clock, self._profiles_changed, acts, self.marks)
        self.suppressions = Suppressions(documents, clock, acts, self.marks)
        self.preferences = Preferences(self.subjects, self.catalog, clock)
        self.messages = Messages(documents, clock, self.subjects, self.suppressions, self._profiles_changed)
        links = Links(self.catalog, public_url)
        self.outbound = Outbound(Targets(allow_private_hosts))
        self.senders = Senders(
            self.outbound,
            on_unregistered=self._forget_tokens,
        )
        gaps = Gaps(telemetry)
        self.dispatcher = Dispatcher(
            documents, log, self.catalog, clock, self.acks, self.senders, senders, links, self.marks, gaps
        )
        caller = WebhookCaller(self.outbound)  # signed by the real clock: receivers compare with theirs
        self.hooks = HookCalls(log, self.catalog, clock, self.acks, caller, self.marks.is_gone, gaps)
        self.engine = Engine(
            documents,
            log,
            self.catalog,
            clock,
            dispatcher=self.dispatcher,
            hooks=self.hooks,
            subjects=self.subjects,
            acks=self.acks,
            ownership=self.ownership,
            render=partial(_counted, gaps),
        )
        self.timers = Timers(documents, self.engine, clock, self.ownership.lanes)
        count_repeats = CountRepeats(documents)
        gather = 0.0 if is_alone else GATHER_SECONDS
        self.intake = Intake(
            documents, log, self.catalog, self.engine, clock, self.marks, count_repeats, gather_seconds=gather
        )
        self.memberships = Memberships(documents, log, clock, self.ownership.lanes)
        self.engine.on_look_due = self.memberships.hint
        self.sweeps = Sweeps(
            documents,
            log,
            self.catalog,
            clock,
            telemetry or Telemetry(),
            hand=self._hand,
            is_ours=self.ownership.is_ours,
            pace=self._room_for_a_page,
            settled=self.engine.passed,
        )
        self.schedules = Schedules(documents, log, self.catalog, clock, self.sweeps, self.ownership.lanes)
        self.ingestion = Ingestion(documents, log, self.catalog, clock, self.marks, count_repeats)
        self.commands = Commands(documents, log, self.catalog, self.engine, clock, self.marks)
        self.peers = Peers(authoring, analytics)
        self.erasures = Erasures(
            documents,
            log,
            self.catalog,
            clock,
            marks=self.marks,
            engine=self.engine,
            acts=acts,
            elsewhere=self.peers,
        )
        self.engine.on_forget = self.erasures.in_lane
        self.retention = Retention(documents, log, self.catalog, clock)
        self.queries = Queries(documents, self.catalog)
        self.evaluation = AudienceEvaluation(documents, self.catalog, clock)
        self.simulation = Simulation(documents, log, self.catalog, clock, _plain)
        self.backtests = Backtests(documents, self.catalog, clock, self.simulation, _plain)
        self.exploration = Exploration(self.simulation, self.catalog, clock, _plain)
        self._subscription: Subscription | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._forgetting: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Take over the partitions, see to what a former process had promised, and begin."""
        await self._documents.open(self.collections)
        await self._log.open(self.topics)
        await self.catalog.refresh()
        self.catalog.allocations.is_renewed = await self._reaches_analytics()
        listener = Listener(self._assigned, self._revoked)
        self._subscription = await self._log.subscribe((EVENTS, COMMANDS), GROUP, listener)
        self._begin(self.engine.run(), self.engine.flush_acks(), self.dispatcher.run())
        if self._is_alone:
            await self.timers.recover()
            await self.backtests.recover()
        self._begin(self.timers.run(), self.intake.run(self._subscription), self.sweeps.run())
        self._begin(self.memberships.run(), self.schedules.run())
        self._begin(self.erasures.run(), self.retention.run())
        self._begin(self._watch_analytics())
        if not self._is_alone:
            self._begin(self._keep_what_is_ours())

    def servicers(self) -> list[tuple[Callable[[Any, Any], None], object, str]]:
        """What a gRPC server has to be given."""
        runtime = RuntimeServicer(self.ingestion, self.commands, self.queries, self.messages, self.evaluation)
        subjects = SubjectServicer(self.subjects, self.suppressions, self.preferences)
        return [
            (add_RuntimeServiceServicer_to_server, runtime, "journeys.runtime.v1.RuntimeService"),
            (
                add_BacktestServiceServicer_to_server,
                BacktestServicer(self.backtests),
                "journeys.runtime.v1.BacktestService",
            ),
            (
                add_WhyServiceServicer_to_server,
                WhyServicer(Why(self._documents, self.catalog, self._clock)),
                "journeys.runtime.v1.WhyService",
            ),
            (
                add_DeadLetterServiceServicer_to_server,
                DeadLetterServicer(DeadLetters(self._log)),
                "journeys.runtime.v1.DeadLetterService",
            ),
            (add_SubjectServiceServicer_to_server, subjects, "journeys.runtime.v1.SubjectService"),
            (add_ProfileServiceServicer_to_server, ProfileServicer(), "journeys.runtime.v1.ProfileService"),
            (
                add_SimulationServiceServicer_to_server,
                SimulationServicer(self.simulation, self.exploration),
                "journeys.runtime.v1.SimulationService",
            ),
            (add_ErasureServiceServicer_to_server, ErasureServicer(self.erasures), ERASURE_SERVICE),
            (add_RecordsServiceServicer_to_server, RecordsServicer(self.queries), _RECORDS_SERVICE),
        ]

    async def idle(self) -> bool:
        """Whether everything accepted has been handled, acted on and acknowledged."""
        if len(self.acks):
            self.engine.flush(float("inf"))
        has_seen_all = self.intake.is_idle() and self.intake.has_counted()
        if not (has_seen_all and self.engine.is_idle() and self.erasures.idle()):
            return False
        return all([await one.idle() for one in (self.schedules, self.sweeps, self.memberships, self.timers)])

    async def next_due(self) -> int | None:
        """The next alarm, ms."""
        found = [await one.next_due() for one in (self.timers, self.memberships, self.schedules)]
        return min((due for due in found if due is not None), default=None)

    async def kill(self) -> None:
        """Stop at once and finish nothing, as kill -9 would: for tests of what a successor finds."""
        self._is_killed = True
        await self.backtests.close()
        for task in self._tasks:
            task.cancel()
        self.engine.kill()
        await self.outbound.close()
        if self._subscription is not None:
            await self._subscription.close()  # the group notices; nothing is committed

    async def close(self) -> None:
        """Stop taking, let what is in flight end, and leave the group."""
        for task in self._tasks[_HANDLING:]:
            task.cancel()
        await self.backtests.close()
        if not self._is_alone:
            await self.engine.settle()  # what a restart would see to at once would wait for its lease at another owner
        await self.engine.close()
        await asyncio.gather(self.dispatcher.close(), self.hooks.close())
        await self.senders.close()
        await self.peers.close()
        await self.outbound.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.intake.commit()
        if self._subscription is not None:
            await self._subscription.close()
        if self._analytics is not None:
            await self._analytics.close()

    async def _assigned(self, partitions: Sequence[int]) -> None:
        await self.ownership.assigned(partitions)
        self.engine.resume()
        for one in (self.timers, self.memberships, self.schedules, self.sweeps):
            one.look_again()

    async def _revoked(self, partitions: Sequence[int]) -> None:
        """Hand partitions over: what is in flight ends, what has ended is committed, the rest is its next owner's."""
        if not self._is_killed:
            self.intake.stop_taking()
            await self.engine.settle()
            try:
                await self.intake.commit()
            except LogUnavailable as error:
                logger.warning("runtime.hands_over_uncommitted", error=str(error))
        await self.ownership.revoked(partitions)
        self.intake.forget(partitions)  # the lanes stand still until the next deal says what of them is still ours

    async def _keep_what_is_ours(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            try:
                await self.ownership.retake()
            except (StoreUnavailable, LogUnavailable) as error:
                logger.warning("runtime.cannot_take_over", error=str(error))

    async def _watch_analytics(self) -> None:
        """Find out whether what adaptive branches have learned is kept up to date; history says where it is not.

        Unreachable is who does not answer twice in a row: a busy moment is none.
        """
        misses = 0
        while True:
            await asyncio.sleep(ANALYTICS_SECONDS)
            misses = 0 if await self._reaches_analytics() else misses + 1
            if misses != 1:
                self.catalog.allocations.is_renewed = misses == 0

    async def _reaches_analytics(self) -> bool:
        """Whether analytics answers; True where nobody has to ask it."""
        address = self._analytics_address()
        if address is None or not self.catalog.has_adaptive():
            return True
        if self._analytics is None:
            self._analytics = connect(address)
        with suppress(grpc.aio.AioRpcError, Unavailable):
            await ping(self._analytics, timeout=ANALYTICS_SECONDS)
            return True
        return False

    async def _room_for_a_page(self) -> None:
        """Wait until what sweeps have asked for is nearly done: a sweep fills the lanes, and never the queue before them."""
        while True:
            await self.engine.room(SWEPT_AHEAD)
            if self._subscription is None or self._subscription.lag() <= SWEPT_AHEAD:
                return
            await asyncio.sleep(0.005)

    def _hand(self, command: CommandRecord) -> "asyncio.Future[None]":
        item = CommandItem(None, command, self._clock.now_ms())
        return self.engine.submit(command.workspace, command.end_user_id, item)

    def _forget_tokens(self, gone: Unregistered) -> None:
        """A provider does not know these any more: nobody shall be called on them again."""
        task = asyncio.create_task(self.subjects.without_tokens(gone.workspace, gone.end_user_id, gone.tokens))
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    async def _profiles_changed(self, workspace: str, end_user_ids: Sequence[str]) -> None:
        if self.catalog.awaits_profiles(workspace):
            await self.commands.profiles_changed(workspace, end_user_ids)

    def _begin(self, *coroutines: Any) -> None:
        for coroutine in coroutines:
            task = asyncio.create_task(coroutine)
            task.add_done_callback(_fail_loudly)
            self._tasks.append(task)


_RECORDS_SERVICE = "journeys.runtime.v1.RecordsService"


def _counted(gaps: Gaps, template: str, values: Mapping[str, Any], now_ms: int) -> str:
    missing: dict[str, None] = {}
    text = _plain(template, values, now_ms, missing)
    gaps.count(missing)
    return text


def _plain(template: str, values: Mapping[str, Any], now_ms: int, missing: dict[str, None] | None = None) -> str:
    try:
        return render(template, values, html=False, now_ms=now_ms, missing=missing)
    except TemplateFailed as failure:
        raise ValueError(failure.reason) from None


def _fail_loudly(task: "asyncio.Task[None]") -> None:
    """A loop that ends by an error must not leave a process that looks well and does nothing."""
    if not task.cancelled() and (error := task.exception()) is not None:
        loop = task.get_loop()
        loop.call_exception_handler({"message": "a loop of the runtime ended", "exception": error, "task": task})
