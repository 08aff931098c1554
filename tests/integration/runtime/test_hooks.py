"""Webhook steps against a real server that dedupes nothing."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from services.domain.execution.execution import Execution
from services.domain.execution.lifecycle import Status
from tests.support.journeys import publish_journey
from tests.support.walking import EXIT, TRIGGER
from tests.support.world import World, a_world


class Customer:
    """A customer's server: answers what it was told, one after the other, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.calls: list[tuple[str, Any]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.calls.append((request.headers["webhook-id"], await request.json()))
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.json_response(body, status=status)


@pytest.fixture
async def customer() -> AsyncIterator[Customer]:
    customer = Customer()
    app = web.Application()
    app.router.add_post("/hook", customer.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    customer.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield customer
    await runner.cleanup()


def steps(customer: Customer, **more: Any) -> list[dict[str, Any]]:
    """Ask the customer, then branch on the answer."""
    vip = {"kind": "context", "fieldPath": "answer.tier", "operator": "equals", "value": "vip"}
    return [
        {**TRIGGER, "next": "ask"},
        {
            "id": "ask", "type": "webhook", "url": customer.url, "body": {"who": "{{ execution.id }}", "n": 1},
            "saveAs": "answer", "next": "branch", **more,
        },
        {"id": "branch", "type": "branch", "mode": "condition", "default": "exit",
         "branches": [{"id": "vip", "condition": vip, "next": "vip"}]},
        {**EXIT, "id": "vip"},
        EXIT,
    ]  # fmt: skip


async def one(world: World, journey: list[dict[str, Any]], ms: int = 0) -> Execution:
    await publish_journey(world.log, journey)
    await world.post("signed_up", "ann", "e1")
    await world.advance(ms)
    [execution] = await world.executions()
    return execution


async def test_the_answer_is_kept_for_the_steps_behind_it(customer: Customer) -> None:
    """Liquid inside the body; the answer decides the branch; history says what happened."""
    customer.answers = [(200, {"tier": "vip"})]
    async with a_world() as world:
        execution = await one(world, steps(customer))

    assert ("vip", {"answer": {"tier": "vip"}}) == (execution.step_id, execution.context)
    assert [("act__v1__ann__e1-ask-1", {"who": "act__v1__ann__e1", "n": 1})] == customer.calls
    assert "webhook.executed" in [entry.action for entry in execution.history]


async def test_a_refusal_for_now_is_repeated_under_the_same_key(customer: Customer) -> None:
    """500, 429, then an answer: three calls, one id, and the person goes on."""
    customer.answers = [(500, {}), (429, {}), (200, {"tier": "vip"})]
    async with a_world() as world:
        execution = await one(world, steps(customer), ms=60_000)

    assert 3 == len(customer.calls)
    assert {"act__v1__ann__e1-ask-1"} == {call_id for call_id, _ in customer.calls}
    assert (Status.SUCCEEDED, "vip") == (execution.status, execution.step_id)


@pytest.mark.parametrize(("on_failure", "status"), [("continue", Status.SUCCEEDED), ("fail", Status.FAILED)])
async def test_a_refusal_for_good_ends_as_the_author_said(customer: Customer, on_failure: str, status: Status) -> None:
    """Every other status fails at once, without a repeat."""
    customer.answers = [(404, {})]
    async with a_world() as world:
        execution = await one(world, steps(customer, onFailure=on_failure), ms=60_000)

    assert (status, 1) == (execution.status, len(customer.calls))
    assert "webhook.failed" in [entry.action for entry in execution.history]


async def test_after_the_last_repeat_it_has_failed(customer: Customer) -> None:
    """retries: 2 means three calls."""
    customer.answers = [(503, {})]
    async with a_world() as world:
        execution = await one(world, steps(customer, retries=2, onFailure="fail"), ms=600_000)

    assert (Status.FAILED, 3) == (execution.status, len(customer.calls))


async def test_a_private_address_is_not_called(customer: Customer) -> None:
    """Unless an operator allowed it."""
    customer.answers = [(200, {})]
    async with a_world() as world:
        world.allow_private_hosts = ()
        await world.restart(gracefully=True)
        execution = await one(world, steps(customer))

    assert [] == customer.calls
    assert "failed" == execution.results["ask-1"].state


async def test_a_call_that_was_promised_is_made_after_a_crash(customer: Customer) -> None:
    """At least once."""
    customer.answers = [(503, {}), (200, {"tier": "x"})]
    async with a_world() as world:
        await one(world, steps(customer))
        await world.restart()
        await world.advance(60_000)
        [execution] = await world.executions()

    assert (Status.SUCCEEDED, 2) == (execution.status, len(customer.calls))
