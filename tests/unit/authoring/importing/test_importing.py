"""What an import does with what is there, with what a person changed, and with what it cannot bring."""

import asyncio
from typing import Any

import pytest

from services.authoring.audiences import AudienceChanges
from services.authoring.communications import CommunicationChanges
from services.authoring.importing.records import IMPORTS
from services.authoring.repositories import JOURNEYS
from services.domain.errors import Invalid, Missing, NotNow
from services.domain.journey.lifecycle import Verb
from tests.unit.authoring.desk import ANN, WORKSPACE, Desk
from tests.unit.authoring.importing.making import (
    AUDIENCE,
    CONTRACT,
    JOURNEY,
    MAIL,
    OTHER,
    bundle,
    ends,
    ids,
    imported,
    other_workspace,
    reasons,
    request,
)

ALL = {AUDIENCE, CONTRACT, MAIL, JOURNEY}


def changed(**members: Any) -> dict[str, Any]:
    """The bundle with another journey: the source was edited."""
    given = bundle()
    given["journeys"][0].update({"description": "from the source", **members})
    return given


async def description(desk: Desk, journey: str | None) -> str:
    """A journey's description."""
    assert journey is not None
    return (await desk.authoring.journeys.get(WORKSPACE, journey)).journey.description


class TestFirst:
    """The first import of a bundle."""

    async def test_everything_is_made_as_a_draft(self, desk: Desk) -> None:
        """Nothing is published, and what names something names what was made."""
        report = await imported(desk, bundle())
        made = ids(report)
        view = await desk.authoring.journeys.get(WORKSPACE, made[JOURNEY] or "")

        assert dict.fromkeys(ALL, "created") == ends(report)
        assert ("draft", 0, ()) == (view.journey.state, view.journey.latest_version, view.warnings)
        assert (made[AUDIENCE], made[CONTRACT]) == (view.journey.audience_id, view.journey.trigger_contract_id)
        assert f'"communicationId":"{made[MAIL]}"'.encode() in (view.steps_json or b"")
        assert b'Ref":"the customer\'s own"' in (view.steps_json or b"")
        assert () == report.blockers

    async def test_a_complete_one_publishes_without_edits(self, desk: Desk) -> None:
        """As it is."""
        report = await imported(desk, bundle())
        view = await desk.authoring.publish(WORKSPACE, ids(report)[JOURNEY] or "", ANN)

        assert 1 == view.journey.latest_version

    async def test_a_dry_run_writes_nothing_and_says_the_same(self, desk: Desk) -> None:
        """The plan is the answer; then it is carried out."""
        asked = await imported(desk, bundle(), dryRun=True)
        assert [] == (await desk.authoring.journeys.page(WORKSPACE, 10, None)).items
        assert [] == (await desk.authoring.audiences.page(WORKSPACE, 10, None)).items
        done = await imported(desk, bundle())

        assert (ends(asked), ids(asked)) == (ends(done), ids(done))

    async def test_the_audit_says_where_it_came_from(self, desk: Desk) -> None:
        """Created and applied, with the import, the provider and the source's id."""
        report = await imported(desk, bundle())
        acts = desk.acts(ids(report)[JOURNEY] or "")

        assert ["created", "import.applied"] == [act.action for act in acts]
        assert all(
            f'"importId":"{report.import_id}","provider":"aws-pinpoint","sourceId":"jrn-1"'.encode()
            in act.metadata_json.replace(b'"name":"Onboarding",', b"")
            for act in acts
        )
        assert "import.applied" == desk.actions("")[-1]

    async def test_a_name_that_is_taken_gets_a_suffix(self, desk: Desk) -> None:
        """And an id of its own; the older one is not touched."""
        older = await desk.draft(name="Onboarding")
        report = await imported(desk, bundle())
        view = await desk.authoring.journeys.get(WORKSPACE, ids(report)[JOURNEY] or "")

        assert "Onboarding (Pinpoint)" == view.journey.name
        assert older.journey.id != view.journey.id
        assert older.journey == await desk.authoring.journeys.load(WORKSPACE, older.journey.id)

    async def test_settings_of_the_workspace_stay(self, desk: Desk) -> None:
        """An import is noted in its audit and changes nothing of it."""
        before = await desk.authoring.workspaces.get(WORKSPACE)
        await imported(desk, bundle())
        after = await desk.authoring.workspaces.get(WORKSPACE)

        assert (before.name, before.settings, before.changes) == (after.name, after.settings, after.changes)

    async def test_an_unknown_workspace_is_missing(self, desk: Desk) -> None:
        """Before anything else."""
        with pytest.raises(Missing):
            await desk.authoring.import_bundle("pk_nobody", b"{", "system")

    async def test_only_what_is_included_comes(self, desk: Desk) -> None:
        """With all it names."""
        given = bundle()
        given["communications"].append({**given["communications"][0], "ref": "communication:2", "sourceId": "other"})
        report = await imported(desk, given, include=[JOURNEY])
        alone = await imported(desk, given, include=["communication:2"])

        assert ALL == ends(report).keys()
        assert {"communication:2": "created"} == ends(alone)


class TestAgain:
    """A bundle that was imported before."""

    async def test_the_same_is_unchanged(self, desk: Desk) -> None:
        """All of it, and nothing is written, not even a note."""
        first = await imported(desk, bundle())
        acts = len(desk.acts(""))
        second = await imported(desk, bundle())

        assert dict.fromkeys(ALL, "unchanged") == ends(second)
        assert ids(first) == ids(second)
        assert acts == len(desk.acts(""))

    async def test_hashes_that_do_not_fit_are_computed_anew(self, desk: Desk) -> None:
        """People edit bundles by hand."""
        given = bundle()
        given["journeys"][0]["contentHash"] = "0" * 64

        assert "created" == ends(await imported(desk, given))[JOURNEY]
        assert "unchanged" == ends(await imported(desk, bundle()))[JOURNEY]

    async def test_a_changed_source_updates_the_draft(self, desk: Desk) -> None:
        """Of that object alone."""
        first = await imported(desk, bundle())
        report = await imported(desk, changed())

        assert {**dict.fromkeys(ALL, "unchanged"), JOURNEY: "updated"} == ends(report)
        assert "from the source" == await description(desk, ids(first)[JOURNEY])
        assert "import.applied" == desk.actions(ids(first)[JOURNEY] or "")[-1]

    async def test_a_published_version_is_never_touched(self, desk: Desk) -> None:
        """A changed source opens a draft beside it."""
        journey = ids(await imported(desk, bundle()))[JOURNEY] or ""
        version = (await desk.authoring.publish(WORKSPACE, journey, ANN)).journey.latest_version
        before = await desk.authoring.journeys.version(WORKSPACE, journey, version)
        given = changed()
        given["journeys"][0]["steps"][1]["next"] = "exit"
        given["journeys"][0]["steps"][2:4] = []
        report = await imported(desk, given)
        view = await desk.authoring.journeys.get(WORKSPACE, journey)

        assert "updated" == ends(report)[JOURNEY]
        assert ("published", 1) == (view.journey.state, view.journey.latest_version)
        assert view.journey.draft is not None
        assert before == await desk.authoring.journeys.version(WORKSPACE, journey, version)

    async def test_the_same_after_a_publish_opens_no_draft(self, desk: Desk) -> None:
        """Unchanged is unchanged."""
        journey = ids(await imported(desk, bundle()))[JOURNEY] or ""
        await desk.authoring.publish(WORKSPACE, journey, ANN)

        assert "unchanged" == ends(await imported(desk, bundle()))[JOURNEY]
        assert (await desk.authoring.journeys.load(WORKSPACE, journey)).draft is None

    async def test_what_the_source_did_not_change_stays_a_persons(self, desk: Desk) -> None:
        """Edited here, unchanged there."""
        journey = ids(await imported(desk, bundle()))[JOURNEY] or ""
        await desk.edit(journey, description="by hand")

        assert "unchanged" == ends(await imported(desk, bundle(), conflictPolicy="overwrite"))[JOURNEY]
        assert "by hand" == await description(desk, journey)

    async def test_two_files_one_after_the_other_are_both_at_once(self, desk: Desk) -> None:
        """What the first one names and lacks is there when the second brings it."""
        await other_workspace(desk)
        parts, whole = bundle(), bundle()
        for section in ("audiences", "communications"):
            parts[section] = []
        parts["journeys"][0]["completeness"] = "incomplete"
        await imported(desk, parts)
        await imported(desk, {**bundle(), "journeys": []})
        at_once = await imported(desk, whole, OTHER)
        journey = ids(at_once)[JOURNEY] or ""
        apart = await desk.authoring.journeys.get(WORKSPACE, journey)
        together = await desk.authoring.journeys.get(OTHER, journey)

        assert (apart.steps_json, apart.warnings) == (together.steps_json, ())
        assert apart.journey.audience_id == together.journey.audience_id

    async def test_what_broke_off_is_finished_by_asking_again(self, desk: Desk) -> None:
        """Objects without a record are found by their ids, and not made a second time."""
        report = await imported(desk, bundle())
        page = await desk.documents.scan(IMPORTS, "", limit=100)
        for record in page.items:
            await desk.documents.delete(IMPORTS, record.key)
        again = await imported(desk, bundle())

        assert dict.fromkeys(ALL, "unchanged") == ends(again)
        assert ids(report) == ids(again)

    async def test_two_at_once_make_everything_once(self, desk: Desk) -> None:
        """Also from two processes."""
        another = desk.another()
        await another.open()
        reports = await asyncio.gather(
            desk.authoring.import_bundle(WORKSPACE, request(bundle()), "system"),
            another.import_bundle(WORKSPACE, request(bundle()), "system"),
        )
        await another.close()

        assert ids(reports[0]) == ids(reports[1])
        assert {"created", "unchanged"} >= {end for report in reports for end in ends(report).values()}
        assert 1 == len((await desk.documents.scan(JOURNEYS, "", limit=10)).items)


class TestConflicts:
    """The source changed, and so did a person."""

    async def edited(self, desk: Desk) -> str:
        """An imported journey that a person changed since."""
        journey = ids(await imported(desk, bundle()))[JOURNEY] or ""
        await desk.edit(journey, description="by hand")
        return journey

    async def test_skip_is_the_default(self, desk: Desk) -> None:
        """With its reason."""
        journey = await self.edited(desk)
        report = await imported(desk, changed())

        assert ("skipped", "edited_since_import") == (ends(report)[JOURNEY], reasons(report)[JOURNEY])
        assert "by hand" == await description(desk, journey)

    async def test_fail_writes_nothing_at_all(self, desk: Desk) -> None:
        """409 import_conflict, with the object's pointer; a dry run tells it without failing."""
        journey = await self.edited(desk)
        given = changed()
        given["audiences"][0]["name"] = "Renamed"
        with pytest.raises(NotNow) as caught:
            await imported(desk, given, conflictPolicy="fail")
        told = await imported(desk, given, conflictPolicy="fail", dryRun=True)
        audiences = (await desk.authoring.audiences.page(WORKSPACE, 10, None)).items

        assert "import_conflict" == caught.value.reason
        assert ["/bundle/journeys/0"] == [fault.path for fault in caught.value.faults]
        assert ("conflict", "updated") == (ends(told)[JOURNEY], ends(told)[AUDIENCE])
        assert ["Trial users"] == [audience.name for audience in audiences]
        assert "by hand" == await description(desk, journey)

    async def test_overwrite_takes_the_sources(self, desk: Desk) -> None:
        """In the draft."""
        journey = await self.edited(desk)
        report = await imported(desk, changed(), conflictPolicy="overwrite")

        assert "updated" == ends(report)[JOURNEY]
        assert "from the source" == await description(desk, journey)

    async def test_copy_makes_another(self, desk: Desk) -> None:
        """Which the next import knows; the edited one is nobody's but the person's."""
        journey = await self.edited(desk)
        report = await imported(desk, changed(), conflictPolicy="copy")
        copy = ids(report)[JOURNEY]
        again = await imported(desk, changed(description="once more"), conflictPolicy="copy")

        assert ("created", "by hand") == (ends(report)[JOURNEY], await description(desk, journey))
        assert copy != journey
        assert ("updated", copy) == (ends(again)[JOURNEY], ids(again)[JOURNEY])

    async def test_an_archived_target_is_skipped(self, desk: Desk) -> None:
        """Overwriting makes a new one: archiving is final."""
        journey = ids(await imported(desk, bundle()))[JOURNEY] or ""
        await desk.authoring.steer(WORKSPACE, journey, Verb.ARCHIVE, ANN)
        skipped = await imported(desk, changed())
        made = await imported(desk, changed(), conflictPolicy="overwrite")

        assert ("skipped", "target_archived") == (ends(skipped)[JOURNEY], reasons(skipped)[JOURNEY])
        assert "created" == ends(made)[JOURNEY]
        assert journey != ids(made)[JOURNEY]

    async def test_a_deleted_target_is_skipped(self, desk: Desk) -> None:
        """Overwriting brings it back under the id by which journeys know it."""
        audience = ids(await imported(desk, bundle()))[AUDIENCE] or ""
        await desk.authoring.audiences.delete(WORKSPACE, audience)
        skipped = await imported(desk, bundle())
        made = await imported(desk, bundle(), conflictPolicy="overwrite")

        assert ("skipped", "target_deleted") == (ends(skipped)[AUDIENCE], reasons(skipped)[AUDIENCE])
        assert "audience_not_found" in {one.code for one in skipped.blockers}
        assert ("created", audience) == (ends(made)[AUDIENCE], ids(made)[AUDIENCE])

    async def test_a_draft_saved_meanwhile_is_a_conflict_of_that_object(self, desk: Desk) -> None:
        """The plan was made from an older state; the others are imported."""
        journey = ids(await imported(desk, bundle()))[JOURNEY] or ""
        given = changed()
        given["audiences"][0]["name"] = "Renamed"
        writers = desk.authoring.import_bundle.applying.writers
        update = writers.audiences.update

        async def meanwhile(*args: Any, **more: Any) -> Any:
            await desk.edit(journey, description="in between")
            return await update(*args, **more)

        object.__setattr__(writers, "audiences", _Instead(writers.audiences, meanwhile))
        report = await imported(desk, given)

        assert ("conflict", "stale_update") == (ends(report)[JOURNEY], reasons(report)[JOURNEY])
        assert "updated" == ends(report)[AUDIENCE]
        assert "in between" == await description(desk, journey)


class _Instead:
    """A use case with another `update`."""

    def __init__(self, inner: Any, update: Any) -> None:
        self._inner, self.update = inner, update

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class TestLacking:
    """What a bundle names and does not bring."""

    async def test_a_ref_of_nothing_is_refused(self, desk: Desk) -> None:
        """422 with every pointer, and nothing is written."""
        given = bundle(audiences=[])
        with pytest.raises(Invalid) as caught:
            await imported(desk, given)

        assert "unresolved_reference" == caught.value.reason
        assert {
            "/bundle/journeys/0/audienceRef",
            "/bundle/journeys/0/steps/2/branches/0/condition/clause/audienceRef",
        } == {fault.path for fault in caught.value.faults}
        assert [] == (await desk.authoring.communications.page(WORKSPACE, 10, None)).items

    async def test_without_atomic_only_that_journey_fails(self, desk: Desk) -> None:
        """The rest is imported."""
        report = await imported(desk, bundle(audiences=[]), atomic=False)

        assert {CONTRACT: "created", MAIL: "created", JOURNEY: "failed"} == ends(report)
        assert "unresolved_reference" == reasons(report)[JOURNEY]

    async def test_an_incomplete_journey_may_lack_it(self, desk: Desk) -> None:
        """Its reference dangles: a missing audience never becomes no audience."""
        given = bundle(audiences=[])
        given["journeys"][0]["completeness"] = "incomplete"
        report = await imported(desk, given)
        view = await desk.authoring.journeys.get(WORKSPACE, ids(report)[JOURNEY] or "")

        assert view.journey.audience_id is not None
        assert {"audience_not_found"} == {one.code for one in report.blockers}
        assert "audience_not_found" in {fault.code for fault in view.warnings}

    async def test_unless_nothing_incomplete_is_wanted(self, desk: Desk) -> None:
        """allowIncomplete: false."""
        given = bundle()
        given["journeys"][0]["completeness"] = "incomplete"
        with pytest.raises(Invalid) as caught:
            await imported(desk, given, allowIncomplete=False)

        assert "graph_invalid" == caught.value.reason

    async def test_another_workspaces_object_is_nothing(self, desk: Desk) -> None:
        """Neither by the id it has there, nor by an export's ref."""
        await other_workspace(desk)
        made = AudienceChanges(name="Theirs", subject_ids=["usr"])
        theirs = await desk.authoring.audiences.create(OTHER, made)
        given = bundle(source={"provider": "adaptive-journeys", "applicationId": OTHER})
        given["journeys"][0]["audienceRef"] = f"audience:{theirs.id}"
        with pytest.raises(Invalid) as caught:
            await imported(desk, given)

        assert "unresolved_reference" == caught.value.reason

    async def test_a_resolution_stands_in(self, desk: Desk) -> None:
        """An object of the workspace instead of the bundle's, which is not made."""
        mine = await desk.communication()
        report = await imported(desk, bundle(), resolutions={"communications": {MAIL: mine}})
        view = await desk.authoring.journeys.get(WORKSPACE, ids(report)[JOURNEY] or "")

        assert ("skipped", "resolved", mine) == (ends(report)[MAIL], reasons(report)[MAIL], ids(report)[MAIL])
        assert f'"communicationId":"{mine}"'.encode() in (view.steps_json or b"")

    async def test_a_resolution_has_to_be_there(self, desk: Desk) -> None:
        """400 with its pointer."""
        with pytest.raises(Invalid) as caught:
            await imported(desk, bundle(), resolutions={"communications": {MAIL: "comm-nobody"}})

        assert [f"/resolutions/communications/{MAIL}"] == [fault.path for fault in caught.value.faults]

    async def test_a_function_is_resolved_to_a_url(self, desk: Desk) -> None:
        """By the name it had at the source."""
        given = bundle()
        step = given["journeys"][0]["steps"][3]
        step.pop("url")
        given["journeys"][0]["extensions"] = {"pinpoint": {"webhooks": {"hook": "arn:aws:lambda:x"}}}
        without = await imported(desk, given, dryRun=True)
        answer = {"webhooks": {"arn:aws:lambda:x": "https://hooks.example.com/wa"}}
        report = await imported(desk, given, resolutions=answer)
        view = await desk.authoring.journeys.get(WORKSPACE, ids(report)[JOURNEY] or "")

        assert ["url_missing"] == [one.code for one in without.blockers]
        assert b'"url":"https://hooks.example.com/wa"' in (view.steps_json or b"")

    async def test_a_placeholder_is_not_made(self, desk: Desk) -> None:
        """Its sends stay without a communication; what it stands for may come later."""
        given = bundle()
        given["communications"][0].update(placeholder=True, subject=None, body=None)
        given["journeys"][0]["completeness"] = "incomplete"
        report = await imported(desk, given)
        view = await desk.authoring.journeys.get(WORKSPACE, ids(report)[JOURNEY] or "")
        again = await imported(desk, given)
        later = await imported(desk, bundle())

        assert ("skipped", "placeholder") == (ends(report)[MAIL], reasons(report)[MAIL])
        assert b"communicationId" not in (view.steps_json or b"")
        assert ["communication_not_found"] == [one.code for one in report.blockers]
        assert {"unchanged"} == set(ends(again).values())
        assert ("created", "updated") == (ends(later)[MAIL], ends(later)[JOURNEY])
        assert () == later.blockers


class TestHostile:
    """What a bundle may not bring."""

    async def test_a_private_url_is_refused(self, desk: Desk) -> None:
        """400 with the step's pointer; nothing is written."""
        given = bundle()
        given["journeys"][0]["steps"][3]["url"] = "https://169.254.169.254/latest"
        with pytest.raises(Invalid) as caught:
            await imported(desk, given)

        assert [("/bundle/journeys/0/steps/3/url", "invalid_url")] == [
            (fault.path, fault.code) for fault in caught.value.faults
        ]
        assert [] == (await desk.authoring.communications.page(WORKSPACE, 10, None)).items

    async def test_a_communication_keeps_its_channel(self, desk: Desk) -> None:
        """As it does for an author."""
        await imported(desk, bundle())
        given = bundle()
        given["communications"][0].update(channel="mobile_push", title="Hi")
        with pytest.raises(Invalid) as caught:
            await imported(desk, given)

        assert ["/bundle/communications/0/channel"] == [fault.path for fault in caught.value.faults]

    async def test_a_communication_turned_transactional_blocks_the_publish(self, desk: Desk) -> None:
        """The import goes through; publish refuses, as the report says."""
        first = await imported(desk, bundle())
        update = CommunicationChanges(comm_type="transactional")
        await desk.authoring.communications.update(WORKSPACE, ids(first)[MAIL] or "", update)
        report = await imported(desk, changed())
        with pytest.raises(Invalid) as caught:
            await desk.authoring.publish(WORKSPACE, ids(report)[JOURNEY] or "", ANN)

        assert ["send_step_uses_transactional_comm"] == [one.code for one in report.blockers]
        assert "send_step_uses_transactional_comm" == caught.value.reason
