"""Every path of a journey, with an example person for each.

Law: reads only. An example is shown only if the production planner, given that person and those events, goes exactly
that way. The work is bounded; where the bound was met, the answer says so.
Source: contract 5 (`mode: "explore"`).
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.domain.execution.explore import Explored, ExploredPath, explore
from services.domain.execution.explore_solving import Budget
from services.domain.journey.predicate import Audience
from services.infra.clock import Clock
from services.runtime.catalog import Catalog
from services.runtime.desk import RenderAt
from services.runtime.simulation import DryRunRequest, Happening, Simulation, Walkable, synthetic

SIDE_BY_SIDE: Final = 1  # in a thread; a second one would only make both slower
MOST_SECONDS: Final = 12.0
MOST_WORK: Final = 120_000  # steps planned and ways tried: some three seconds


@dataclass(frozen=True, slots=True)
class ExamplePath:
    """One path, and who takes it."""

    steps: Sequence[str]
    attributes: Mapping[str, Any]
    events: Sequence[Happening]
    trigger: Happening | None
    assumes: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Found:
    """All paths. `dead_branches` pairs a step's id with a branch's or arm's."""

    paths: Sequence[ExamplePath]
    unreachable: Sequence[str]
    dead_branches: Sequence[tuple[str, str]]
    truncated: bool


class _Patience(Budget):
    """A budget that ends by the clock, too."""

    def __init__(self, left: int) -> None:
        super().__init__(left)
        self._ends_at = time.monotonic() + MOST_SECONDS

    def spend(self, amount: int = 1) -> bool:
        """See Budget."""
        return super().spend(amount) and time.monotonic() < self._ends_at


class Exploration:
    """Explores drafts and versions. Raises Missing (journey or version)."""

    def __init__(self, simulation: Simulation, catalog: Catalog, clock: Clock, render: RenderAt) -> None:
        self._simulation = simulation
        self._catalog = catalog
        self._clock = clock
        self._render = render
        self._places = asyncio.Semaphore(SIDE_BY_SIDE)

    async def __call__(self, workspace: str, journey_id: str, walkable: Walkable) -> Found:
        """Explore."""
        info = await self._simulation.workspace(workspace)
        prepared = self._simulation.prepared(workspace, journey_id, walkable)
        version = prepared.version
        if version is None:
            return Found((), (), (), False)
        start_at = self._clock.now_ms()
        request = DryRunRequest(workspace, journey_id, walkable)
        loaded = synthetic(request, version, info, self._catalog)
        fresh = self._simulation.fresh(request, version, loaded, start_at)
        view = self._simulation.view(version, loaded, fresh, "published", start_at)

        def audience(name: str) -> Audience | None:
            return self._catalog.audience(workspace, name)

        async with self._places:
            explored = await asyncio.to_thread(
                explore, version, fresh, view, self._render, audience, prepared.faults, _Patience(MOST_WORK)
            )
        return _found(explored)


def _found(explored: Explored) -> Found:
    return Found(
        [_example(path) for path in explored.paths], explored.unreachable, explored.dead_branches, explored.truncated
    )


def _example(path: ExploredPath) -> ExamplePath:
    events = [Happening(one.type, one.data, one.after) for one in path.events]
    trigger = None if path.trigger is None else Happening(path.trigger.type, path.trigger.data, 0)
    return ExamplePath(path.steps, path.attributes, events, trigger, path.assumes)
