"""Letting others have the loop."""

import asyncio

import pytest

from services.infra.slices import Slices


async def turns(seconds: float, count: int) -> int:
    """How often somebody else had the loop between `count` things."""
    others = 0
    is_over = False

    async def other() -> None:
        nonlocal others
        while not is_over:
            others += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    slices = Slices(seconds)
    for _ in range(count):
        await slices.pause()
    is_over = True
    await task
    return others


@pytest.mark.parametrize(("seconds", "expected"), [(-1.0, 10), (60.0, 0)])
async def test_others_have_a_turn_when_a_slice_is_over(seconds: float, expected: int) -> None:
    """After each thing where a slice has no length; none before a long one ends."""
    assert expected == await turns(seconds, 10)
