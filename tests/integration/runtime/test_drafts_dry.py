"""Drafts that are full of faults: a dry run and an exploration of them end, and say what is wrong."""

import asyncio
import copy
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.domain.journey.graph import faults_of
from services.domain.journey.model import Graph
from services.domain.journey.reading import read_settings, read_steps
from services.domain.journey.step_checks import Catalogue, CommunicationInfo
from services.infra.liquid import template_faults
from services.runtime.catalogue_records import PinnedCommunication, PublishedVersion
from services.runtime.simulation import DryRunRequest, Happening, Walkable
from tests.integration.runtime.test_parity import SCENARIOS, Scenario
from tests.support.journeys import WORKSPACE
from tests.support.walking import MINUTE
from tests.support.world import a_world

MAILS = {name: PinnedCommunication(name, 1, name, "email", "marketing", {"subject": "{{ x"}) for name in ("c1", "c3")}


@st.composite
def broken(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Steps of a sound journey, some of them bent."""
    scenario: Scenario = draw(SCENARIOS)
    steps: list[dict[str, Any]] = [copy.deepcopy(dict(step)) for step in scenario.steps]
    names = [step["id"] for step in steps]
    for step in steps:
        match draw(st.sampled_from(["", "", "", "nowhere", "back", "bare", "name", "nothing"])):
            case "nowhere" if "next" in step:
                step["next"] = draw(st.sampled_from([None, "gone"]))
            case "back" if "next" in step:
                step["next"] = draw(st.sampled_from(names))
            case "bare":
                for member in ("timeout", "duration", "condition", "arms", "branches", "eventName"):
                    step.pop(member, None)
            case "name":
                step["id"] = draw(st.sampled_from(names))
            case "nothing":
                step.pop("url", None)
                step.pop("set", None)
                step.pop("communicationId", None)
    return draw(st.permutations(steps))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(broken(), st.dictionaries(st.sampled_from(["plan", "vip", "email"]), st.sampled_from([None, 1, "pro", []])))
def test_a_draft_is_walked_as_far_as_it_goes(steps: list[dict[str, Any]], attributes: dict[str, Any]) -> None:
    """Never an error of ours; each step at most twice, the second time as the end of a circle."""

    async def walked() -> None:
        read, malformed = read_steps(steps)
        if malformed or not read:
            return  # no such draft is ever stored
        sends = {name: CommunicationInfo("marketing", "email") for name in MAILS}
        catalogue = Catalogue(communications=sends, template_faults=template_faults)
        faults = tuple(faults_of(Graph(read, read_settings(None)[0]), catalogue))
        draft = PublishedVersion("new", 1, "New", json.dumps(steps).encode(), b"{}", None, None, MAILS)
        walkable = Walkable(draft=draft, faults=faults)
        async with a_world() as world:
            request = DryRunRequest(
                WORKSPACE, "new", walkable, attributes=attributes, events=[Happening("paid", {}, MINUTE)]
            )
            ran = await world.runtime.simulation(request, "me")
            found = await world.runtime.exploration(WORKSPACE, "new", walkable)
        names = [entry.step_id for entry in ran.trace.entries]

        assert ran.trace.outcome in ("completed", "blocked", "failed")
        assert "internal" != ran.trace.reason
        assert len(names) <= len(set(names)) + 2
        assert ran.trace.outcome != "failed" or ran.trace.reason
        assert all(path.steps for path in found.paths)

    asyncio.run(walked())
