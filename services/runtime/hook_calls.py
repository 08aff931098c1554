"""Calls to customers' servers that webhook steps promised.

Law: at least once, under one key; every attempt that fails for now leaves the intent waiting for its next turn in
the execution's own document. An answer goes on at once: the person stands still until it is there.
Source: contract 2.1 (webhook); runtime design 7.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from services.domain.execution.execution import LEASE_MS, Entry, Execution, Intent, Result
from services.domain.execution.paths import template_values
from services.domain.execution.triggers import Profile, Settled
from services.domain.journey.model import Webhook
from services.domain.messaging.retry import RetryAt, call_schedule
from services.infra.clock import Clock
from services.infra.documents.port import StoreUnavailable
from services.infra.liquid import render
from services.infra.log.port import Log, LogUnavailable
from services.runtime import guards
from services.runtime.acks import Acks
from services.runtime.catalog import Catalog
from services.runtime.collections import EXECUTION_RECORDS
from services.runtime.gaps import Gaps
from services.runtime.records import record_of
from services.runtime.senders.outcomes import Permanent, Temporary
from services.runtime.webhooks import WebhookCaller
from services.runtime.work import CLOSE_SECONDS

CAPACITY = 10_000
SIDE_BY_SIDE = 64
logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HookCall:
    """One claimed webhook intent."""

    execution: Execution
    key: str
    intent: Intent
    profile: Profile
    claimed_at: float

    @property
    def call_id(self) -> str:
        """`<executionId>-<stepId>-<visit>`: the same on every repeat."""
        return f"{self.execution.execution_id}-{self.key}"


async def _nobody_is(subject_key: str, started_at: int) -> bool:
    return False


class HookCalls:
    """Makes the calls side by side and settles them."""

    def __init__(
        self,
        log: Log,
        catalog: Catalog,
        clock: Clock,
        acks: Acks,
        caller: WebhookCaller,
        is_gone: Callable[[str, int], Awaitable[bool]] = _nobody_is,
        gaps: Gaps | None = None,
    ) -> None:
        self._gaps = gaps or Gaps()
        self._is_gone = is_gone
        self._log = log
        self._catalog = catalog
        self._clock = clock
        self._acks = acks
        self._caller = caller
        self._places = asyncio.Semaphore(SIDE_BY_SIDE)
        self._held: set[str] = set()
        self._room = asyncio.Event()
        self._room.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_settled: Callable[[Execution], None] = lambda execution: None

    def holds(self, call_id: str) -> bool:
        """Whether that call is in our hands right now."""
        return call_id in self._held

    def held(self) -> frozenset[str]:
        """The ids of those calls."""
        return frozenset(self._held)

    def is_idle(self) -> bool:
        """Nothing under way."""
        return not self._held

    async def submit(self, calls: Sequence[HookCall]) -> None:
        """Begin claimed calls as soon as there are places for them; waits while too many wait already."""
        if not calls:
            return
        await self._room.wait()
        if len(self._held) + len(calls) >= CAPACITY:
            self._room.clear()
        for call in calls:
            self._held.add(call.call_id)
            task = asyncio.create_task(self._see_through(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Let calls under way end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)

    async def _see_through(self, call: HookCall) -> None:
        one = call.execution
        try:
            async with self._places:
                if not guards.may_still_act(call.claimed_at, time.monotonic(), LEASE_MS / 1000):
                    return  # the lease is found again when it runs out
                if await self._is_gone(one.subject_key, one.started_at):
                    return
                settled = await self._called(call)
            if await self._is_gone(one.subject_key, one.started_at):
                return  # while the call was under way: nobody asks any more what it answered
            if settled.entry is not None:
                record = record_of(call.execution, [settled.entry], {call.key: settled.result.state})
                await self._log.append(EXECUTION_RECORDS, [record])
            self._acks.settle(one.key, one.workspace_id, one.subject_id, settled, time.monotonic())
            self.on_settled(one)
        except (StoreUnavailable, LogUnavailable) as error:
            logger.warning("hook.unavailable", call_id=call.call_id, error=str(error))
        finally:
            self._held.discard(call.call_id)
            if len(self._held) < CAPACITY:
                self._room.set()

    async def _called(self, call: HookCall) -> Settled:
        one = call.execution
        version = self._catalog.version(one.workspace_id, one.journey_id, one.journey_version)
        step = version.steps.get(call.intent.step_id) if version else None
        if version is None or not isinstance(step, Webhook):
            return self._ended(call, "failed", {"reason": "The version has no such webhook."}, {})
        values = template_values(one, call.profile, version.name)
        info = self._catalog.workspace(one.workspace_id)
        secret_ref = info.settings.get("webhookSecretRef") if info else None
        now = self._clock.now_ms()
        attempts = call.intent.attempts + 1
        missing: dict[str, None] = {}

        def fill(text: str) -> str:
            return render(text, values, html=False, now_ms=now, missing=missing)

        try:
            called = await self._caller.call(step, call.call_id, fill, secret_ref)
        except Permanent as refusal:
            return self._ended(call, "failed", _told(refusal.reason, refusal.status, attempts), missing)
        except Temporary as refusal:
            now = self._clock.now_ms()
            match call_schedule(attempts, step.retries, call.call_id, now, refusal.retry_after):
                case RetryAt(at=at):
                    return Settled(call.key, Result("failed", now, refusal.reason), retry_at=at)
                case _:
                    return self._ended(call, "failed", _told(refusal.reason, refusal.status, attempts), missing)
        detail: dict[str, Any] = {"status": called.status, "attempts": attempts}
        return self._ended(call, "sent", detail, missing, called.answer)

    def _ended(
        self, call: HookCall, state: str, detail: dict[str, Any], missing: Mapping[str, None], answer: Any = None
    ) -> Settled:
        at = self._clock.now_ms()
        detail |= self._gaps.told(missing)
        action = "webhook.executed" if state == "sent" else "webhook.failed"
        entry = Entry(f"{call.call_id}:{state}", at, call.intent.step_id, action, detail)
        return Settled(call.key, Result(state, at, detail.get("reason")), entry, answer=answer)


def _told(reason: str, status: int | None, attempts: int) -> dict[str, Any]:
    return {"reason": reason, "attempts": attempts, **({} if status is None else {"status": status})}
