"""How many executed, skipped, failed and wait, step by step.

Law: nothing is counted here. The counters of a journey's partitions are added.
"""

from typing import NamedTuple

from services.analytics.follower import Follower
from services.analytics.repositories import Counters
from services.infra.documents.port import Documents

FRESH_SECONDS = 0.2


class StepCounts(NamedTuple):
    """How many visits of a step were executed, skipped, failed, and how many wait in it."""

    executed: int
    skipped: int
    failed: int
    waiting: int


class GetStepStats:
    """The counts of every step that somebody reached, by step id; empty for a journey nobody has entered.

    What was in the log when it was asked is counted, as far as 0.2 s allow.
    """

    def __init__(self, documents: Documents, executions: Follower, partitions: int) -> None:
        self._counters = Counters(documents)
        self._executions = executions
        self._partitions = partitions

    async def __call__(self, workspace: str, journey_id: str) -> dict[str, StepCounts]:
        await self._executions.drain(FRESH_SECONDS)
        sums: dict[str, list[int]] = {}
        for counter in await self._counters.of_journey(workspace, journey_id, self._partitions):
            for step, counts in counter.steps.items():
                sums[step] = [a + b for a, b in zip(sums.get(step, (0, 0, 0, 0)), counts, strict=True)]
        return {step: StepCounts(*sums[step]) for step in sorted(sums)}
