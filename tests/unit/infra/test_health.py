"""Health is a list of pings, asked together, answered in words."""

import asyncio

import pytest

from services.infra.health import Health


async def well() -> None:
    return None


async def test_what_answers_has_no_error() -> None:
    """A ping that returns is None in the answer."""
    health = Health()
    health.add("store", well)

    assert {"store": None} == await health.check()


async def test_what_raises_is_told_in_one_line() -> None:
    """The first line of the error, or its type; the other pings are not disturbed."""

    async def ill() -> None:
        raise OSError("the disk is full\nat line 3")

    async def mute() -> None:
        raise KeyError

    health = Health()
    health.add("disk", ill)
    health.add("mute", mute)
    health.add("store", well)

    assert {"disk": "the disk is full", "mute": "KeyError", "store": None} == await health.check()


async def test_what_is_silent_is_told_after_the_timeout() -> None:
    """A hanging ping costs its time limit, and all limits run at once."""
    health = Health()
    for name in ("a", "b"):
        health.add(name, asyncio.Event().wait)

    assert {"a": "no answer within 0.01 s", "b": "no answer within 0.01 s"} == await health.check(timeout=0.01)


def test_a_name_is_taken_once() -> None:
    """Two pings of one name would hide each other."""
    health = Health()
    health.add("store", well)

    with pytest.raises(ValueError, match="store"):
        health.add("store", well)
