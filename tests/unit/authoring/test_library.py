"""Trigger contracts, audiences, communications."""

import asyncio
import json
from typing import Any

import pytest

from services.authoring.audiences import AudienceChanges
from services.authoring.communications import CommunicationChanges
from services.authoring.repositories import AUDIENCES
from services.authoring.trigger_contracts import ContractChanges
from services.domain.errors import Duplicate, Invalid, Missing, NotNow, Unmatched
from services.domain.journey.lifecycle import Verb
from services.infra.log.port import LogUnavailable
from tests.support.memory import MemoryLog
from tests.unit.authoring.desk import ANN, EXIT, WORKSPACE, Desk, found

PRO = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}


class TestTriggerContracts:
    """Which events start journeys."""

    async def test_made_with_defaults_and_a_readable_id(self, desk: Desk) -> None:
        """The subject is found under endUserId."""
        contract = await desk.authoring.trigger_contracts.create(WORKSPACE, ContractChanges("Sign up!", "signed_up"))

        assert ("trig-sign-up", "endUserId", None) == (
            contract.id, contract.subject_field_path, contract.recipient_email_field_path,
        )  # fmt: skip
        assert contract == await desk.authoring.trigger_contracts.get(WORKSPACE, contract.id)

    async def test_all_faults_at_once(self, desk: Desk) -> None:
        """Missing and malformed together."""
        bad = ContractChanges(name=" ", subject_field_path="a..b", recipient_email_field_path=".")
        with pytest.raises(Invalid) as refused:
            await desk.authoring.trigger_contracts.create(WORKSPACE, bad, "UPPER")

        assert {
            ("/name", "missing_member"), ("/eventName", "missing_member"), ("/subjectFieldPath", "bad_path"),
            ("/recipientEmailFieldPath", "bad_path"), ("/id", "bad_pattern"),
        } == found(refused.value)  # fmt: skip

    async def test_a_given_id_is_used_once(self, desk: Desk) -> None:
        """409 id_taken."""
        given = ContractChanges("A", "a")
        await desk.authoring.trigger_contracts.create(WORKSPACE, given, "trig-a")
        with pytest.raises(Duplicate):
            await desk.authoring.trigger_contracts.create(WORKSPACE, given, "trig-a")

    async def test_each_change_has_a_later_version_at(self, desk: Desk) -> None:
        """Within one millisecond, and with many at once."""
        contract = await desk.contract()
        changed = await asyncio.gather(
            *(
                desk.authoring.trigger_contracts.update(WORKSPACE, contract, ContractChanges(event_name=f"e{i}"))
                for i in range(8)
            )
        )

        assert 8 == len({one.version_at_ms for one in changed})
        assert all(one.version_at_ms > one.created_at_ms for one in changed)

    async def test_a_path_can_be_taken_away(self, desk: Desk) -> None:
        """null clears, absent keeps."""
        given = ContractChanges("A", "a", recipient_email_field_path="data.email")
        contract = await desk.authoring.trigger_contracts.create(WORKSPACE, given)
        kept = await desk.authoring.trigger_contracts.update(WORKSPACE, contract.id, ContractChanges(name="B"))
        cleared = await desk.authoring.trigger_contracts.update(
            WORKSPACE, contract.id, ContractChanges(recipient_email_field_path=None)
        )

        assert ("data.email", None) == (kept.recipient_email_field_path, cleared.recipient_email_field_path)

    async def test_one_in_use_is_not_deleted(self, desk: Desk) -> None:
        """By a draft or by the latest version; an archived journey uses none."""
        contract = await desk.contract()
        contracts = desk.authoring.trigger_contracts
        await desk.published([EXIT], id="act", trigger_contract_id=contract)
        await desk.edit("act", trigger_contract_id=None)  # the latest version still has it
        for _ in range(2):
            with pytest.raises(NotNow) as refused:
                await contracts.delete(WORKSPACE, contract)
            assert "in_use" == refused.value.reason
            await desk.authoring.publish(WORKSPACE, "act", ANN) if _ == 0 else None
            await desk.edit("act", trigger_contract_id=contract)  # now only the draft
        await desk.authoring.steer(WORKSPACE, "act", Verb.ARCHIVE, ANN)
        await contracts.delete(WORKSPACE, contract)

        with pytest.raises(Missing):
            await contracts.get(WORKSPACE, contract)

    async def test_tags_and_lists(self, desk: Desk) -> None:
        """412 for an older tag; newest first."""
        contracts = desk.authoring.trigger_contracts
        first = await desk.contract()
        desk.clock.move(1)
        second = await desk.contract()
        with pytest.raises(Unmatched):
            await contracts.update(WORKSPACE, first, ContractChanges(name="B"), "old")

        assert [second, first] == [one.id for one in (await contracts.page(WORKSPACE, 10, None)).items]


class TestAudiences:
    """Named sets of subjects."""

    async def test_by_predicate_and_by_list(self, desk: Desk) -> None:
        """Both are told to the runtime; a list's ids are each once."""
        by_predicate = await desk.audience(PRO)
        by_list = await desk.authoring.audiences.create(
            WORKSPACE, AudienceChanges(name="VIP", subject_ids=["a", "b", "a"])
        )

        assert PRO == json.loads(desk.told(f"audience:{by_predicate}").audience.predicate_json)
        assert ["a", "b"] == list(desk.told(f"audience:{by_list.id}").audience.subject_ids)
        assert not desk.told(f"audience:{by_list.id}").audience.HasField("predicate_json")

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"name": "X"}, {("", "missing_member")}),
            ({"predicate_json": b"{}"}, {("/name", "missing_member"), ("/predicate/kind", "missing_member")}),
            ({"name": "X", "predicate_json": b"nope"}, {("/predicate", "invalid_json")}),
            (
                {"name": "X", "predicate_json": json.dumps(PRO).encode(), "subject_ids": ["", "é" * 101]},
                {("/subjectIds", "conflicting_members"), ("/subjectIds/0", "out_of_range"),
                 ("/subjectIds/1", "out_of_range")},
            ),
        ],
    )  # fmt: skip
    async def test_refused(self, desk: Desk, given: dict[str, Any], expected: set[tuple[str, str]]) -> None:
        """Every fault, each at its pointer."""
        with pytest.raises(Invalid) as refused:
            await desk.authoring.audiences.create(WORKSPACE, AudienceChanges(**given))

        assert expected == found(refused.value)

    async def test_a_change_acts_at_once(self, desk: Desk) -> None:
        """A list takes a predicate's place; the log hears it; what is the same changes nothing."""
        audience = await desk.audience(PRO)
        after = await desk.authoring.audiences.update(WORKSPACE, audience, AudienceChanges(subject_ids=["a"]))
        same = await desk.authoring.audiences.update(WORKSPACE, audience, AudienceChanges(name="Pro"))

        assert (None, ("a",)) == (after.predicate_json, after.subject_ids)
        assert ["a"] == list(desk.told(f"audience:{audience}").audience.subject_ids)
        assert after.updated_at_ms == same.updated_at_ms

    async def test_one_that_would_be_defined_by_itself_is_refused(self, desk: Desk) -> None:
        """Also by way of others."""
        one = await desk.audience(PRO)
        two = await desk.audience({"kind": "not", "clause": {"kind": "in_segment", "audienceId": one}})
        for target in (one, two):
            given = AudienceChanges(predicate_json=json.dumps({"kind": "in_segment", "audienceId": target}).encode())
            with pytest.raises(Invalid) as refused:
                await desk.authoring.audiences.update(WORKSPACE, one, given)
            assert {("/predicate", "cycle")} == found(refused.value)

    async def test_deleting_is_told_and_the_id_is_free_again(self, desk: Desk) -> None:
        """A tombstone; then a new one under the same id."""
        audience = await desk.audience(PRO)
        await desk.authoring.audiences.delete(WORKSPACE, audience)

        assert desk.catalogue()[f"{WORKSPACE}:audience:{audience}"] is None
        with pytest.raises(Missing):
            await desk.authoring.audiences.get(WORKSPACE, audience)
        assert [] == (await desk.authoring.audiences.page(WORKSPACE, 10, None)).items

        await desk.authoring.audiences.create(WORKSPACE, AudienceChanges(name="N", subject_ids=[]), audience)
        assert "N" == desk.told(f"audience:{audience}").audience.name

    async def test_killed_while_deleting_the_restart_tells(self, desk: Desk) -> None:
        """It is gone for readers at once, and for the log after the restart."""
        log = desk.log
        assert isinstance(log, MemoryLog)
        audience = await desk.audience(PRO)
        log.unavailable = True
        with pytest.raises(LogUnavailable):
            await desk.authoring.audiences.delete(WORKSPACE, audience)
        with pytest.raises(Missing):
            await desk.authoring.audiences.get(WORKSPACE, audience)
        log.unavailable = False
        await desk.killed()

        assert desk.catalogue()[f"{WORKSPACE}:audience:{audience}"] is None
        assert await desk.documents.get(AUDIENCES, f"{WORKSPACE}:{audience}") is None

    async def test_a_change_that_meets_a_deletion_leaves_no_ghost(self, desk: Desk) -> None:
        """Whoever is slower, the log's last word is the store's."""
        other = desk.another()
        for i in range(10):
            audience = await desk.audience(PRO)
            await asyncio.gather(
                desk.authoring.audiences.update(WORKSPACE, audience, AudienceChanges(name=f"n{i}")),
                other.audiences.delete(WORKSPACE, audience),
                return_exceptions=True,
            )

            assert desk.catalogue()[f"{WORKSPACE}:audience:{audience}"] is None
        await other.close()


class TestCommunications:
    """What a message says."""

    async def test_every_change_is_a_version_and_the_older_stay(self, desk: Desk) -> None:
        """null removes a member; what is not given stays."""
        mail = await desk.communication(subject="S", body="B", data={"a": 1})
        given = CommunicationChanges(content_json=b'{"body": null, "text": "T"}')
        second = await desk.authoring.communications.update(WORKSPACE, mail, given)
        third = await desk.authoring.communications.update(WORKSPACE, mail, CommunicationChanges(name="N"))
        first = await desk.authoring.communications.version(WORKSPACE, mail, 1)

        assert (2, 3) == (second.version, third.version)
        assert {"data": {"a": 1}, "subject": "S", "text": "T"} == json.loads(third.content_json)
        assert {"body": "B", "data": {"a": 1}, "subject": "S"} == json.loads(first.content_json)
        with pytest.raises(Missing):
            await desk.authoring.communications.version(WORKSPACE, mail, 4)

    async def test_writers_at_once_each_make_a_version(self, desk: Desk) -> None:
        """None is lost, none is doubled."""
        mail = await desk.communication()
        made = await asyncio.gather(
            *(
                desk.authoring.communications.update(WORKSPACE, mail, CommunicationChanges(name=f"n{i}"))
                for i in range(8)
            )
        )

        assert list(range(2, 10)) == sorted(one.version for one in made)
        for one in made:
            again = await desk.authoring.communications.version(WORKSPACE, mail, one.version)
            assert one.name == again.name

    async def test_all_faults_at_once(self, desk: Desk) -> None:
        """Enums, content, templates."""
        content = {"subject": 1, "body": "{{ a | nope }}", "text": "{% if %}", "data": [], "foo": 1}
        given = CommunicationChanges(comm_type="spam", channel="fax", content_json=json.dumps(content).encode())
        with pytest.raises(Invalid) as refused:
            await desk.authoring.communications.create(WORKSPACE, given)

        assert {
            ("/name", "missing_member"), ("/commType", "unknown_value"), ("/channel", "unknown_value"),
            ("/subject", "wrong_type"), ("/body", "invalid_template"), ("/text", "invalid_template"),
            ("/data", "wrong_type"), ("/foo", "unknown_member"),
        } == found(refused.value)  # fmt: skip

    async def test_archiving_twice_is_archiving_once(self, desk: Desk) -> None:
        """It can be put back."""
        mail = await desk.communication()
        first = await desk.authoring.communications.archive(WORKSPACE, mail)
        second = await desk.authoring.communications.archive(WORKSPACE, mail)
        back = await desk.authoring.communications.update(WORKSPACE, mail, CommunicationChanges(status="active"))

        assert first == second
        assert ("archived", "active") == (first.status, back.status)

    async def test_a_refused_change_leaves_no_version(self, desk: Desk) -> None:
        """Nor does an older tag."""
        mail = await desk.communication()
        with pytest.raises(Invalid):
            await desk.authoring.communications.update(WORKSPACE, mail, CommunicationChanges(content_json=b"[]"))
        with pytest.raises(Unmatched):
            await desk.authoring.communications.update(WORKSPACE, mail, CommunicationChanges(name="N"), "old")

        assert 1 == (await desk.authoring.communications.get(WORKSPACE, mail)).version
