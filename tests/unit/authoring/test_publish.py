"""Publishing: what it refuses, what it pins, and that there is one version of one draft."""

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from services.authoring.communications import CommunicationChanges
from services.authoring.read_journeys import JourneyView
from services.authoring.repositories import COMMUNICATIONS, JOURNEYS, VERSIONS, ArmReset
from services.authoring.trigger_contracts import ContractChanges
from services.domain.errors import Invalid, Missing, NotNow, OverPlan, Stale, Unmatched
from services.domain.journey.lifecycle import IllegalTransition, State, Verb
from services.domain.times import format_time
from services.infra.documents.port import StoreUnavailable, Write
from tests.support.memory import MemoryDocuments
from tests.unit.authoring.desk import ANN, EXIT, WORKSPACE, Desk, found, send, wait

RANDOM = {
    "id": "b", "type": "branch", "mode": "random",
    "arms": [{"id": "a", "weight": 1, "next": "x"}, {"id": "c", "weight": 2, "next": "x"}],
}  # fmt: skip


async def refusal(desk: Desk, steps: list[dict[str, Any]], **members: Any) -> Invalid:
    view = await desk.draft(steps, **members)
    with pytest.raises(Invalid) as refused:
        await desk.authoring.publish(WORKSPACE, view.journey.id, ANN)
    return refused.value


class TestRefusals:
    """All faults together, and a reason that says of what kind they are."""

    async def test_a_broken_graph(self, desk: Desk) -> None:
        """graph_invalid, with everything that is wrong."""
        mail = await desk.communication()
        await desk.authoring.communications.archive(WORKSPACE, mail)
        refused = await refusal(
            desk, [wait("w", "s"), send("s", mail, "t"), send("t", "gone", "w"), EXIT],
            audience_id="none", trigger_contract_id="none",
        )  # fmt: skip

        assert "graph_invalid" == refused.reason
        assert found(refused) >= {
            ("/audienceId", "audience_not_found"),
            ("/triggerContractId", "trigger_contract_not_found"),
            ("/steps/1/communicationId", "communication_archived"),
            ("/steps/2/communicationId", "communication_not_found"),
            ("/steps/0", "cycle"),
            ("/steps/3", "unreachable_step"),
        }

    async def test_a_transactional_communication(self, desk: Desk) -> None:
        """Its own reason, whatever else is wrong."""
        mail = await desk.communication("transactional")
        refused = await refusal(desk, [send("s", mail, "x"), EXIT, wait("lost", "x")])

        assert "send_step_uses_transactional_comm" == refused.reason
        assert ("/steps/0/communicationId", "send_step_uses_transactional_comm") in found(refused)
        assert ("/steps/2", "unreachable_step") in found(refused)

    async def test_a_schedule_that_never_fires(self, desk: Desk) -> None:
        """A moment behind us, a rule without a moment, one that spins for ever: each at its member."""
        step = {"id": "t", "type": "trigger", "mode": "schedule", "next": "x"}

        assert {("/steps/0/at", "schedule_past")} == found(
            await refusal(desk, [{**step, "at": "2020-01-01T00:00:00Z"}, EXIT])
        )
        for rule in ("FREQ=DAILY;UNTIL=20200101", "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"):
            refused = await refusal(desk, [{**step, "rrule": rule}, EXIT])
            assert {("/steps/0/rrule", "invalid_schedule")} == found(refused)

    async def test_templates(self, desk: Desk) -> None:
        """Liquid inside steps is compiled; that of a communication too, were it to get past its own check."""
        mail = await desk.communication()
        held = await desk.authoring.communications.get(WORKSPACE, mail)
        documents = desk.documents
        assert isinstance(documents, MemoryDocuments)
        documents.put(COMMUNICATIONS, replace(held, content_json=b'{"body": "{{ x | nope }}"}'))
        refused = await refusal(desk, [send("s", mail, "x"), EXIT])
        assert [("/steps/0/communicationId", "invalid_template", "body: There is no filter 'nope'.")] == [
            (fault.path, fault.code, fault.message) for fault in refused.faults
        ]
        step = {"id": "u", "type": "update_profile", "set": {"a": "{{ subject.x | nope }}"}, "next": "x"}

        assert {("/steps/0/set/a", "invalid_template")} == found(await refusal(desk, [step, EXIT]))

    async def test_arms_to_reset_that_are_not_there(self, desk: Desk) -> None:
        """Refused with the rest, and nothing is published."""
        view = await desk.draft([RANDOM, EXIT])
        resets = [ArmReset("b", "a"), ArmReset("b", "z"), ArmReset("x", "a")]
        with pytest.raises(Invalid) as refused:
            await desk.authoring.publish(WORKSPACE, view.journey.id, ANN, reset_arms=resets)

        assert {("/resetArms/1/armId", "unknown_arm"), ("/resetArms/2/stepId", "unknown_step")} == found(refused.value)

    async def test_no_draft(self, desk: Desk) -> None:
        """409 no_draft; 404 for what is not there."""
        view = await desk.published()
        with pytest.raises(NotNow) as refused:
            await desk.authoring.publish(WORKSPACE, view.journey.id, ANN)
        with pytest.raises(Missing):
            await desk.authoring.publish(WORKSPACE, "no-such", ANN)

        assert "no_draft" == refused.value.reason

    async def test_an_older_tag(self, desk: Desk) -> None:
        """412, and nothing is published."""
        view = await desk.draft()
        await desk.edit(view.journey.id, name="Other")
        with pytest.raises(Unmatched):
            await desk.authoring.publish(WORKSPACE, view.journey.id, ANN, etag=view.etag)

    async def test_the_workspaces_limit(self, desk: Desk) -> None:
        """Counts published and paused journeys; further versions of one and archived ones do not count."""
        await desk.authoring.workspaces.update(WORKSPACE, b'{"maxJourneys": 1}', ANN)
        await desk.published([EXIT], id="one")
        await desk.edit("one", name="v2")
        await desk.authoring.publish(WORKSPACE, "one", ANN)
        await desk.authoring.steer(WORKSPACE, "one", Verb.PAUSE, ANN)
        await desk.draft([EXIT], id="two")
        with pytest.raises(OverPlan) as refused:
            await desk.authoring.publish(WORKSPACE, "two", ANN)
        assert "journey_limit_reached" == refused.value.reason

        await desk.authoring.steer(WORKSPACE, "one", Verb.ARCHIVE, ANN)

        assert 1 == (await desk.authoring.publish(WORKSPACE, "two", ANN)).journey.latest_version

    async def test_first_publishes_at_one_moment_keep_to_the_limit(self, desk: Desk) -> None:
        """Of five with room for two, two are published."""
        await desk.authoring.workspaces.update(WORKSPACE, b'{"maxJourneys": 2}', ANN)
        for number in range(5):
            await desk.draft([EXIT], id=f"j{number}")
        publishes = [desk.authoring.publish(WORKSPACE, f"j{number}", ANN) for number in range(5)]

        outcomes = await asyncio.gather(*publishes, return_exceptions=True)

        assert 2 == sum(isinstance(outcome, JourneyView) for outcome in outcomes)
        assert 3 == sum(isinstance(outcome, OverPlan) for outcome in outcomes)


class TestPins:
    """A version holds whatever it needs, as it was."""

    async def test_everything_is_pinned_and_told(self, desk: Desk) -> None:
        """Contract, communications with their content, settings, steps, audience; later changes do not reach it."""
        mail, contract, audience = await desk.communication(body="v1"), await desk.contract(), await desk.audience()
        view = await desk.published(
            [send("s", mail, "x"), EXIT], id="act", settings={"exitOnGoal": True},
            audience_id=audience, trigger_contract_id=contract, goal_event_name="g",
        )  # fmt: skip
        await desk.authoring.communications.update(
            WORKSPACE, mail, CommunicationChanges(content_json=b'{"body": "v2"}')
        )
        await desk.authoring.trigger_contracts.update(WORKSPACE, contract, ContractChanges(event_name="other"))
        await desk.edit("act", steps=[EXIT])
        version = desk.told("version:act:1").version
        stored = await desk.authoring.journeys.version(WORKSPACE, "act", 1)

        assert [(mail, 1, {"body": "v1"})] == [
            (one.id, one.version, json.loads(one.content_json)) for one in version.communications
        ]
        assert (contract, "signed_up", "endUserId") == (
            version.trigger_contract.id, version.trigger_contract.event_name, version.trigger_contract.subject_field_path,
        )  # fmt: skip
        assert (audience, b'{"exitOnGoal":true}', view.steps_json) == (
            version.audience_id, version.settings_json, version.steps_json,
        )  # fmt: skip
        assert (ANN, version.steps_json) == (stored.published_by, stored.steps_json)

    async def test_a_second_version_follows_the_first(self, desk: Desk) -> None:
        """The head points at it; the state stays; the draft is gone."""
        await desk.published([EXIT], id="act")
        await desk.authoring.steer(WORKSPACE, "act", Verb.PAUSE, ANN)
        await desk.edit("act", steps=[wait("w", "x"), EXIT])
        view = await desk.authoring.publish(WORKSPACE, "act", ANN, reset_arms=[])

        assert (2, State.PAUSED, None) == (view.journey.latest_version, view.journey.state, view.journey.draft)
        assert ("paused", 2) == (
            desk.told("journey:act").journey.status,
            desk.told("journey:act").journey.latest_version,
        )
        assert view.journey.published_at_ms == view.journey.updated_at_ms

    async def test_arms_that_count_anew_are_kept(self, desk: Desk) -> None:
        """In the version and in the act."""
        await desk.draft([RANDOM, EXIT], id="act")
        await desk.authoring.publish(WORKSPACE, "act", ANN, reset_arms=[ArmReset("b", "a")])
        version = await desk.authoring.journeys.version(WORKSPACE, "act", 1)

        assert (ArmReset("b", "a"),) == version.reset_arms
        assert {"resetArms": [{"armId": "a", "stepId": "b"}], "version": 1} == json.loads(
            desk.acts("act")[-1].metadata_json
        )


class TestRaces:
    """One draft, one version."""

    @pytest.mark.parametrize("processes", [1, 2])
    async def test_of_two_publishes_one_wins(self, desk: Desk, processes: int) -> None:
        """The other is refused; there is no second version, in the store or in the log."""
        other = desk.another() if processes == 2 else desk.authoring
        for i in range(10):
            await desk.draft([EXIT], id=f"j{i}")
            outcomes = await asyncio.gather(
                desk.authoring.publish(WORKSPACE, f"j{i}", ANN), other.publish(WORKSPACE, f"j{i}", ANN),
                return_exceptions=True,
            )  # fmt: skip

            assert [1] == [one.journey.latest_version for one in outcomes if isinstance(one, JourneyView)]
            assert 1 == sum(isinstance(one, NotNow | Stale) for one in outcomes)
            assert ["created", "published"] == desk.actions(f"j{i}")
            assert f"{WORKSPACE}:version:j{i}:2" not in desk.catalogue()
        if processes == 2:
            await other.close()

    async def test_a_draft_that_changes_under_a_publish_is_not_published(self, desk: Desk) -> None:
        """What was reviewed is what is published, or nothing: 409 stale_update."""
        documents = desk.documents
        assert isinstance(documents, MemoryDocuments)
        before = (await desk.draft([EXIT], id="act")).journey
        assert before.draft is not None
        changed = replace(before.draft, updated_at_ms=before.updated_at_ms + 5)

        def edited_first(write: Write) -> None:
            documents.fault = None
            documents.put(JOURNEYS, replace(before, revision=2, draft=changed, updated_at_ms=changed.updated_at_ms))

        documents.fault = edited_first
        with pytest.raises(Stale) as refused:
            await desk.authoring.publish(WORKSPACE, "act", ANN)

        assert {"updatedAt": format_time(changed.updated_at_ms)} == refused.value.metadata
        assert State.DRAFT is (await desk.authoring.journeys.get(WORKSPACE, "act")).journey.state

    async def test_killed_after_the_write_the_version_appears_with_the_restart(self, desk: Desk) -> None:
        """The head says version 1: readers see it at once, and after the restart it has its own document."""
        documents = desk.documents
        assert isinstance(documents, MemoryDocuments)
        await desk.draft([EXIT], id="act")

        def fault(write: Write) -> None:
            if write.collection is VERSIONS:
                raise StoreUnavailable("killed here")

        documents.fault = fault
        with pytest.raises(StoreUnavailable):
            await desk.authoring.publish(WORKSPACE, "act", ANN)
        assert 1 == (await desk.authoring.journeys.version(WORKSPACE, "act", 1)).version
        assert [1] == [one.version for one in (await desk.authoring.journeys.versions(WORKSPACE, "act", 9, None)).items]
        assert f"{WORKSPACE}:version:act:1" not in desk.catalogue()
        documents.fault = None
        await desk.killed()

        assert await documents.get(VERSIONS, f"{WORKSPACE}:act:1") is not None
        assert 1 == desk.told("version:act:1").version.version
        assert ["created", "published"] == desk.actions("act")
        with pytest.raises(NotNow):
            await desk.authoring.publish(WORKSPACE, "act", ANN)


class TestSteer:
    """pause, resume, archive: the table, and no act for nothing."""

    async def test_the_way_of_a_journey(self, desk: Desk) -> None:
        """Repeats are no-ops without a second act."""
        await desk.published([EXIT], id="act")
        for verb in (Verb.RESUME, Verb.PAUSE, Verb.PAUSE, Verb.RESUME, Verb.RESUME, Verb.ARCHIVE, Verb.ARCHIVE):
            view = await desk.authoring.steer(WORKSPACE, "act", verb, ANN)
            assert view.journey.state.value == desk.told("journey:act").journey.status

        assert ["created", "published", "paused", "resumed", "archived"] == desk.actions("act")
        assert {ANN} == {act.actor for act in desk.acts("act")}

    @pytest.mark.parametrize("verb", [Verb.PAUSE, Verb.RESUME])
    async def test_a_draft_is_neither_paused_nor_resumed(self, desk: Desk, verb: Verb) -> None:
        """409 illegal_transition."""
        view = await desk.draft()
        with pytest.raises(IllegalTransition) as refused:
            await desk.authoring.steer(WORKSPACE, view.journey.id, verb, ANN)

        assert "illegal_transition" == refused.value.reason

    async def test_an_archived_journey_stays(self, desk: Desk) -> None:
        """Nothing but archiving again; the record stays readable."""
        await desk.published([EXIT], id="act")
        await desk.edit("act", name="Draft")
        await desk.authoring.steer(WORKSPACE, "act", Verb.ARCHIVE, ANN)
        for verb in (Verb.PAUSE, Verb.RESUME):
            with pytest.raises(IllegalTransition):
                await desk.authoring.steer(WORKSPACE, "act", verb, ANN)
        with pytest.raises(IllegalTransition):
            await desk.authoring.publish(WORKSPACE, "act", ANN)

        assert "Draft" == (await desk.authoring.journeys.get(WORKSPACE, "act")).journey.name
        assert 1 == (await desk.authoring.journeys.version(WORKSPACE, "act", 1)).version

    async def test_every_change_an_author_sees_moves_the_tag(self, desk: Desk) -> None:
        """Also pausing."""
        view = await desk.published([EXIT])

        assert view.etag != (await desk.authoring.steer(WORKSPACE, view.journey.id, Verb.PAUSE, ANN)).etag
