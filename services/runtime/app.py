"""The runtime put together: the only place of this service where concrete things are chosen."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from journeys.runtime.v1.runtime_service_pb2_grpc import add_RuntimeServiceServicer_to_server
from journeys.runtime.v1.subject_service_pb2_grpc import add_SubjectServiceServicer_to_server

from services.infra.clock import Clock
from services.infra.documents.port import Documents
from services.infra.liquid import TemplateFailed, render
from services.infra.log.port import Listener, Log, Subscription
from services.infra.outbound import Outbound, Targets
from services.infra.telemetry import Telemetry
from services.runtime.acks import Acks
from services.runtime.acts import Acts
from services.runtime.audience_evaluation import AudienceEvaluation
from services.runtime.catalog import Catalog
from services.runtime.collections import COLLECTIONS, COMMANDS, EVENTS, TOPICS
from services.runtime.commands import Commands
from services.runtime.dispatcher import Dispatcher
from services.runtime.engine import Engine
from services.runtime.hook_calls import HookCalls
from services.runtime.ingestion import Ingestion
from services.runtime.intake import Intake
from services.runtime.messages import Messages
from services.runtime.ownership import Ownership
from services.runtime.preferences import DEFAULT_URL, Links, Preferences
from services.runtime.queries import Queries
from services.runtime.senders.choice import Senders
from services.runtime.senders.outcomes import Unregistered
from services.runtime.senders.port import Sender
from services.runtime.servicer import RuntimeServicer
from services.runtime.subject_documents import SUBJECT_COLLECTIONS
from services.runtime.subject_servicer import SubjectServicer
from services.runtime.subjects import Subjects
from services.runtime.suppressions import Suppressions
from services.runtime.sweeps import Sweeps
from services.runtime.timers import Timers
from services.runtime.webhooks import WebhookCaller

GROUP = "runtime"
_HANDLING = 3  # the loops that handle what was taken come first: engine, acknowledgements, dispatcher


class Runtime:
    """The runtime service. `is_alone`: no other process can be at work on the same store."""

    name = "runtime"
    collections = (*COLLECTIONS, *SUBJECT_COLLECTIONS)
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
    ) -> None:
        self._documents = documents
        self._log = log
        self._is_alone = is_alone
        self._telemetry = telemetry
        self.catalog = Catalog(log)
        self.acks = Acks()
        self.ownership = Ownership(documents, log)
        acts = Acts(log, self.catalog.known)
        self.subjects = Subjects(documents, clock, self._profiles_changed, acts)
        self.suppressions = Suppressions(documents, clock, acts)
        self.preferences = Preferences(self.subjects, self.catalog, clock)
        self.messages = Messages(documents, clock, self.subjects, self.suppressions, self._profiles_changed)
        links = Links(self.catalog, public_url)
        self.outbound = Outbound(Targets(allow_private_hosts))
        self.senders = Senders(
            self.outbound,
            on_unregistered=self._forget_tokens,
        )
        self.dispatcher = Dispatcher(documents, log, self.catalog, clock, self.acks, self.senders, senders, links)
        caller = WebhookCaller(self.outbound)  # signed by the real clock: receivers compare with theirs
        self.hooks = HookCalls(log, self.catalog, clock, self.acks, caller)
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
            render=_plain,
        )
        self.timers = Timers(documents, self.engine, clock)
        self.intake = Intake(documents, log, self.catalog, self.engine, clock)
        self.sweeps = Sweeps(documents, log, self.catalog)
        self.ingestion = Ingestion(documents, log, self.catalog, clock)
        self.commands = Commands(documents, log, self.catalog, self.engine, clock)
        self.queries = Queries(documents, self.catalog)
        self.evaluation = AudienceEvaluation(documents, self.catalog, clock)
        self._subscription: Subscription | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._forgetting: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Take over the partitions, see to what a former process had promised, and begin."""
        await self._documents.open(self.collections)
        await self._log.open(self.topics)
        await self.catalog.refresh()
        listener = Listener(self.ownership.assigned, self.ownership.revoked)
        self._subscription = await self._log.subscribe((EVENTS, COMMANDS), GROUP, listener)
        self._begin(self.engine.run(), self.engine.flush_acks(), self.dispatcher.run())
        if self._is_alone:
            await self.timers.recover()
        self._begin(self.timers.run(), self.intake.run(self._subscription), self.sweeps.run())

    def servicers(self) -> list[tuple[Callable[[Any, Any], None], object, str]]:
        """What a gRPC server has to be given."""
        runtime = RuntimeServicer(self.ingestion, self.commands, self.queries, self.messages, self.evaluation)
        subjects = SubjectServicer(self.subjects, self.suppressions, self.preferences)
        return [
            (add_RuntimeServiceServicer_to_server, runtime, "journeys.runtime.v1.RuntimeService"),
            (add_SubjectServiceServicer_to_server, subjects, "journeys.runtime.v1.SubjectService"),
        ]

    async def idle(self) -> bool:
        """Whether everything accepted has been handled, acted on and acknowledged."""
        if len(self.acks):
            self.engine.flush(float("inf"))
        return self.intake.is_idle() and self.engine.is_idle() and await self.sweeps.idle() and await self.timers.idle()

    async def next_due(self) -> int | None:
        """The next alarm, ms."""
        return await self.timers.next_due()

    async def kill(self) -> None:
        """Stop at once and finish nothing, as kill -9 would: for tests of what a successor finds."""
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
        await self.engine.close()
        await asyncio.gather(self.dispatcher.close(), self.hooks.close())
        await self.senders.close()
        await self.outbound.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.intake.commit()
        if self._subscription is not None:
            await self._subscription.close()

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


def _plain(template: str, values: Mapping[str, Any], now_ms: int) -> str:
    try:
        return render(template, values, html=False, now_ms=now_ms)
    except TemplateFailed as failure:
        raise ValueError(failure.reason) from None


def _fail_loudly(task: "asyncio.Task[None]") -> None:
    """A loop that ends by an error must not leave a process that looks well and does nothing."""
    if not task.cancelled() and (error := task.exception()) is not None:
        loop = task.get_loop()
        loop.call_exception_handler({"message": "a loop of the runtime ended", "exception": error, "task": task})
