"""A translation as a process of its own: what it gives back, how few run, how it ends."""

import asyncio
import json

import pytest

from services.authoring import translate_pinpoint
from services.authoring.translate_pinpoint import TranslatePinpoint
from services.domain.errors import Invalid, Late, Unavailable
from services.infra.clock import ManualClock
from tests.support.pinpoint import email, journey

REQUEST = json.dumps({"projectKey": "p", "export": journey({"a": email()})}).encode()


@pytest.fixture
def translate() -> TranslatePinpoint:
    """The use case at a fixed time."""
    return TranslatePinpoint(ManualClock(1_800_000_000_000))


async def test_it_gives_the_answer(translate: TranslatePinpoint) -> None:
    """Made as of the day's beginning, so that the bytes are the same all day."""
    answer = json.loads(await translate(REQUEST))

    assert {"bundle", "summary"} == answer.keys()
    assert "2027-01-15T00:00:00.000Z" == answer["bundle"]["options"]["now"]


async def test_a_refusal_comes_back_with_its_faults(translate: TranslatePinpoint) -> None:
    """As it was raised in the process."""
    with pytest.raises(Invalid) as refused:
        await translate(b'{"export": {}, "options": {"sms": "pigeon"}}')

    assert ("validation_error", {"/projectKey", "/options/sms"}) == (
        refused.value.reason,
        {fault.path for fault in refused.value.faults},
    )


async def test_the_loop_goes_on_meanwhile(translate: TranslatePinpoint) -> None:
    """Whoever else is in this process is not held up."""
    work = asyncio.create_task(translate(REQUEST))
    turns = 0
    while not work.done():
        turns += 1
        await asyncio.sleep(0.001)

    assert turns > 1
    assert await work


async def test_one_runs_at_a_time_and_few_may_wait(
    translate: TranslatePinpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes then is told to come again."""
    monkeypatch.setattr(translate_pinpoint, "MAX_WAITING", 2)
    outcomes = await asyncio.gather(*(translate(REQUEST) for _ in range(3)), return_exceptions=True)

    assert 1 == sum(isinstance(outcome, Unavailable) for outcome in outcomes)
    assert 1 == len({outcome for outcome in outcomes if isinstance(outcome, bytes)})


async def test_what_takes_too_long_is_ended(translate: TranslatePinpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next one is served."""
    with monkeypatch.context() as short:
        short.setattr(translate_pinpoint, "SECONDS", 0.0)
        with pytest.raises(Late):
            await translate(REQUEST)

    assert await translate(REQUEST)


async def test_whoever_goes_away_takes_the_process_along(translate: TranslatePinpoint) -> None:
    """A call that is cancelled leaves its turn to the next."""
    work = asyncio.create_task(translate(REQUEST))
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work

    assert await translate(REQUEST)


async def test_a_bug_never_tells_what_was_in_the_export(
    translate: TranslatePinpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what kind of error it was."""
    monkeypatch.setattr(translate_pinpoint, "MODULE", "services.authoring.no_such_module")

    with pytest.raises(RuntimeError, match="translation failed"):
        await translate(REQUEST)
