"""Authoring over the wire, on the embedded store: every call once, refusals as they arrive, and kill -9."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from argon2 import PasswordHasher
from journeys.authoring.v1 import authoring_service_pb2 as pb
from journeys.authoring.v1 import journey_pb2, workspace_service_pb2
from journeys.authoring.v1.authoring_service_pb2_grpc import AuthoringServiceStub
from journeys.authoring.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from journeys.events.v1.authoring_record_pb2 import AuditRecord, CatalogueRecord
from journeys.type.v1.page_pb2 import Page

from services.authoring.app import Authoring
from services.authoring.passwords import Argon2Passwords
from services.infra.clock import SystemClock
from services.infra.grpc.caller import acting
from services.infra.grpc.channel import connect, wait_ready
from services.infra.grpc.errors import refusal_of
from services.infra.grpc.server import Server
from services.infra.log.port import Log
from services.infra.machinery import machinery

W = "pk_demo"
PRO = {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}


def steps(*ids: str) -> bytes:
    waits = [
        {"id": one, "type": "wait", "mode": "duration", "duration": "PT1H", "next": after}
        for one, after in zip(ids, [*ids[1:], "x"], strict=True)
    ]
    return json.dumps([*waits, {"id": "x", "type": "exit"}]).encode()


class Wire:
    """The two stubs, and what went wrong of a call."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.authoring: Any = AuthoringServiceStub(channel)
        self.workspaces: Any = WorkspaceServiceStub(channel)

    async def refused(self, call: Any) -> tuple[str, str]:
        """Kind and reason of a call that must be refused."""
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        refusal = refusal_of(error.value)
        return refusal.kind, refusal.reason


@pytest_asyncio.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    """A server on a file and a client with a workspace."""
    clock = SystemClock()
    cheap = Argon2Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    async with machinery("embedded", "embedded", tmp_path / "data", clock.now_ms) as (documents, log):
        authoring = Authoring(documents, log, clock, passwords=cheap)
        await authoring.open()
        server = Server("authoring")
        for register, servicer, name in authoring.servicers():
            server.add(register, servicer, name)
        address = await server.start(f"unix:{tmp_path}/s")
        channel = connect(address)
        await wait_ready(channel, 10)
        made = Wire(channel)
        await made.workspaces.CreateWorkspace(
            workspace_service_pb2.CreateWorkspaceRequest(
                name="Demo", project_key=W, owner_email="o@x.example", owner_password="pw", session_token="boot"
            )
        )
        yield made
        await channel.close()
        await server.stop(1)
        await authoring.close()


async def test_a_journeys_life(wire: Wire) -> None:
    """Made, edited, refused, published, steered, listed; the actor comes from the metadata."""
    do = wire.authoring
    changes = journey_pb2.JourneyChanges(
        name="Act", steps_json=steps("a"), settings_json=b'{"exitOnGoal": true}', goal_event_name="g"
    )
    with acting("user-ann"):
        made = (await do.CreateJourney(pb.CreateJourneyRequest(workspace=W, id="act", changes=changes))).journey
        edit = pb.UpdateJourneyRequest(workspace=W, id="act", updated_at_ms=made.updated_at_ms)
        edit.changes.CopyFrom(journey_pb2.JourneyChanges(steps_json=steps("b"), clear_goal_event_name=True))
        edited = (await do.UpdateJourney(edit)).journey
        assert ("stale", "stale_update") == await wire.refused(do.UpdateJourney(edit))
        published = await do.PublishJourney(pb.PublishJourneyRequest(workspace=W, id="act", etag=edited.etag))
        assert ("not_now", "no_draft") == await wire.refused(
            do.PublishJourney(pb.PublishJourneyRequest(workspace=W, id="act"))
        )
    paused = (await do.PauseJourney(pb.PauseJourneyRequest(workspace=W, id="act"))).journey
    resumed = (await do.ResumeJourney(pb.ResumeJourneyRequest(workspace=W, id="act"))).journey
    version = (await do.GetVersion(pb.GetVersionRequest(workspace=W, journey_id="act", version=1))).version
    versions = (await do.ListVersions(pb.ListVersionsRequest(workspace=W, journey_id="act"))).versions
    listed = (await do.ListJourneys(pb.ListJourneysRequest(workspace=W))).journeys
    archived = (await do.ArchiveJourney(pb.ArchiveJourneyRequest(workspace=W, id="act"))).journey

    assert (W, "draft", 0, True) == (made.project_key, made.status, made.latest_version, made.HasField("draft"))
    assert made.goal_since_ms == made.created_at_ms
    assert (False, False) == (edited.HasField("goal_event_name"), edited.HasField("goal_since_ms"))
    assert (1, "published", False) == (published.version, published.journey.status, published.journey.HasField("draft"))
    assert b'{"exitOnGoal":true}' == published.journey.settings_json
    assert json.loads(steps("b")) == json.loads(published.journey.steps_json)
    assert ["paused", "published", "archived"] == [one.status for one in (paused, resumed, archived)]
    assert ("user-ann", version) == (version.published_by, versions[0])
    assert [("act", b"")] == [(one.id, one.steps_json) for one in listed]


async def test_all_faults_cross_the_wire(wire: Wire) -> None:
    """Each with path and code; JSON that is none too."""
    bad = journey_pb2.JourneyChanges(name="", steps_json=b"{", goal_event_window_days=-1)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await wire.authoring.CreateJourney(pb.CreateJourneyRequest(workspace=W, changes=bad))

    assert {("/name", "missing_member"), ("/steps", "invalid_json"), ("/goalEventWindowDays", "out_of_range")} == {
        fault[:2] for fault in refusal_of(error.value).faults
    }


async def test_the_library(wire: Wire) -> None:
    """Contracts, audiences, communications: each call once."""
    do = wire.authoring
    contract = (
        await do.CreateTriggerContract(
            pb.CreateTriggerContractRequest(
                workspace=W, name="C", event_name="e", recipient_email_field_path="data.email"
            )
        )
    ).trigger_contract
    changed = await do.UpdateTriggerContract(
        pb.UpdateTriggerContractRequest(
            workspace=W, id=contract.id, event_name="f", clear_recipient_email_field_path=True, etag=contract.etag
        )
    )
    got = await do.GetTriggerContract(pb.GetTriggerContractRequest(workspace=W, id=contract.id))
    assert changed.trigger_contract == got.trigger_contract
    assert ("f", False) == (
        got.trigger_contract.event_name,
        got.trigger_contract.HasField("recipient_email_field_path"),
    )
    assert got.trigger_contract.version_at_ms > contract.version_at_ms
    await do.CreateJourney(
        pb.CreateJourneyRequest(
            workspace=W, changes=journey_pb2.JourneyChanges(name="J", trigger_contract_id=contract.id)
        )
    )
    delete = pb.DeleteTriggerContractRequest(workspace=W, id=contract.id)
    assert ("not_now", "in_use") == await wire.refused(do.DeleteTriggerContract(delete))
    assert 1 == len((await do.ListTriggerContracts(pb.ListTriggerContractsRequest(workspace=W))).trigger_contracts)

    by_list = pb.CreateAudienceRequest(workspace=W, name="A", subject_ids=pb.SubjectIds(ids=["a"]))
    audience = (await do.CreateAudience(by_list)).audience
    update = pb.UpdateAudienceRequest(workspace=W, id=audience.id, predicate_json=json.dumps(PRO).encode())
    updated = (await do.UpdateAudience(update)).audience
    assert (PRO, []) == (json.loads(updated.predicate_json), list(updated.subject_ids))
    assert updated == (await do.GetAudience(pb.GetAudienceRequest(workspace=W, id=audience.id))).audience
    await do.DeleteAudience(pb.DeleteAudienceRequest(workspace=W, id=audience.id))
    gone = do.GetAudience(pb.GetAudienceRequest(workspace=W, id=audience.id))
    assert ("missing", "not_found") == await wire.refused(gone)
    assert [] == list((await do.ListAudiences(pb.ListAudiencesRequest(workspace=W))).audiences)

    mail = (
        await do.CreateCommunication(
            pb.CreateCommunicationRequest(
                workspace=W,
                id="welcome",
                name="M",
                comm_type="marketing",
                channel="email",
                content_json=b'{"body":"b"}',
            )
        )
    ).communication
    second = await do.UpdateCommunication(
        pb.UpdateCommunicationRequest(workspace=W, id="welcome", content_json=b'{"subject":"s","body":null}')
    )
    archived = await do.ArchiveCommunication(pb.ArchiveCommunicationRequest(workspace=W, id="welcome"))
    assert (1, 2, "archived") == (mail.version, second.communication.version, archived.communication.status)
    assert b'{"subject":"s"}' == second.communication.content_json
    assert (
        archived.communication
        == (await do.GetCommunication(pb.GetCommunicationRequest(workspace=W, id="welcome"))).communication
    )
    assert 1 == len((await do.ListCommunications(pb.ListCommunicationsRequest(workspace=W))).communications)


async def test_people(wire: Wire) -> None:
    """Sign-in, roles, keys, settings: each call once."""
    do, w = wire.workspaces, workspace_service_pb2
    me = await do.Authenticate(w.AuthenticateRequest(session_token="boot"))
    assert (W, "Demo", "o@x.example", "owner") == (me.workspace, me.workspace_name, me.email, me.role)
    member = (await do.AddMember(w.AddMemberRequest(workspace=W, email="E@x", role="viewer", password="p"))).member
    session = await do.SignIn(w.SignInRequest(email="e@X", password="p"))
    await do.UpdateMember(w.UpdateMemberRequest(workspace=W, user_id=member.user_id, role="editor"))
    who = await do.Authenticate(w.AuthenticateRequest(session_token=session.session_token))
    assert (member.user_id, "editor") == (who.user_id, who.role)
    assert 2 == len((await do.ListMembers(w.ListMembersRequest(workspace=W))).members)
    await do.RemoveMember(w.RemoveMemberRequest(workspace=W, user_id=member.user_id))
    out = do.Authenticate(w.AuthenticateRequest(session_token=session.session_token))
    assert ("unknown_caller", "unauthenticated") == await wire.refused(out)
    last = do.RemoveMember(w.RemoveMemberRequest(workspace=W, user_id=me.user_id))
    assert ("not_now", "last_owner") == await wire.refused(last)

    made = await do.CreateApiKey(w.CreateApiKeyRequest(workspace=W, name="ci", role="viewer"))
    key = await do.Authenticate(w.AuthenticateRequest(api_key=made.secret))
    assert (made.api_key.id, "viewer", "") == (key.user_id, key.role, key.email)
    assert [made.api_key] == list((await do.ListApiKeys(w.ListApiKeysRequest(workspace=W))).api_keys)
    await do.DeleteApiKey(w.DeleteApiKeyRequest(workspace=W, id=made.api_key.id))

    update = w.UpdateWorkspaceRequest(workspace=W, changes_json=b'{"name":"New","maxJourneys":3}')
    changed = (await do.UpdateWorkspace(update)).workspace
    assert changed == (await do.GetWorkspace(w.GetWorkspaceRequest(workspace=W))).workspace
    assert ("New", 3, "UTC") == (
        changed.name, json.loads(changed.settings_json)["maxJourneys"], json.loads(changed.settings_json)["timezone"],
    )  # fmt: skip
    await do.SignOut(w.SignOutRequest(session_token="boot"))
    ended = do.Authenticate(w.AuthenticateRequest(session_token="boot"))
    assert ("unknown_caller", "unauthenticated") == await wire.refused(ended)


async def test_idempotency_keys(wire: Wire) -> None:
    """Claimed, settled, given again; another request is refused."""
    do = wire.authoring
    claim = pb.ClaimIdempotencyKeyRequest(workspace=W, key="k", fingerprint="f")
    answer = pb.StoredAnswer(status=201, content_type="application/json", body=b"{}", headers={"ETag": "1"})
    assert not (await do.ClaimIdempotencyKey(claim)).HasField("answer")
    assert ("unavailable", "unavailable") == await wire.refused(do.ClaimIdempotencyKey(claim))
    await do.SettleIdempotencyKey(pb.SettleIdempotencyKeyRequest(workspace=W, key="k", answer=answer))

    assert answer == (await do.ClaimIdempotencyKey(claim)).answer
    other = pb.ClaimIdempotencyKeyRequest(workspace=W, key="k", fingerprint="g")
    assert ("invalid", "idempotency_key_reused") == await wire.refused(do.ClaimIdempotencyKey(other))


async def test_races_on_the_real_store(wire: Wire) -> None:
    """Eight writers with one updatedAt, two publishes of one draft: one wins."""
    do = wire.authoring
    changes = journey_pb2.JourneyChanges(name="Act")
    for i in range(5):
        name = f"j{i}"
        made = (await do.CreateJourney(pb.CreateJourneyRequest(workspace=W, id=name, changes=changes))).journey
        edits = [
            pb.UpdateJourneyRequest(
                workspace=W, id=name, updated_at_ms=made.updated_at_ms, changes=journey_pb2.JourneyChanges(name=f"w{n}")
            )
            for n in range(8)
        ]
        outcomes = await asyncio.gather(*(do.UpdateJourney(edit) for edit in edits), return_exceptions=True)
        assert 7 == sum(isinstance(outcome, grpc.aio.AioRpcError) for outcome in outcomes)

        publish = pb.PublishJourneyRequest(workspace=W, id=name)
        outcomes = await asyncio.gather(*(do.PublishJourney(publish) for _ in range(2)), return_exceptions=True)
        assert [1] == [one.version for one in outcomes if not isinstance(one, BaseException)]
        versions = await do.ListVersions(pb.ListVersionsRequest(workspace=W, journey_id=name, page=Page(limit=10)))
        assert 1 == len(versions.versions)


async def test_killed_at_any_moment_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """kill -9 while journeys are edited and published; afterwards store and log agree, and each act is there once."""
    acknowledged: dict[str, int] = {}
    for after_seconds in (0.2, 0.5):
        await _edited_until_killed(tmp_path, acknowledged, after_seconds)
    clock = SystemClock()
    async with machinery("embedded", "embedded", tmp_path / "data", clock.now_ms) as (documents, log):
        authoring = Authoring(documents, log, clock)
        await authoring.open()
        acts: dict[str, list[str]] = {}
        for record in await _all(log, "journeys.audit.v1"):
            act = AuditRecord.FromString(record)
            if act.id not in acts.setdefault(act.journey_id, []):
                acts[act.journey_id].append(act.id)
        heads = {
            record.journey.id: record.journey
            for record in map(CatalogueRecord.FromString, await _all(log, "journeys.authoring.v1"))
            if record.HasField("journey")
        }
        for name, versions in acknowledged.items():
            journey = await authoring.journeys.load(W, name)
            assert versions <= journey.latest_version <= versions + 1
            assert journey.latest_version == heads[name].latest_version
            listed = await authoring.journeys.versions(W, name, 500, None)
            assert list(range(journey.latest_version, 0, -1)) == [version.version for version in listed.items]
            # created, then an edit and a publish for each version; perhaps one edit more
            assert len(acts[name]) in (2 * journey.latest_version, 2 * journey.latest_version + 1)
        assert acknowledged
        await authoring.close()


async def _edited_until_killed(folder: Path, acknowledged: dict[str, int], after_seconds: float) -> None:
    socket = folder / "k"
    socket.unlink(missing_ok=True)
    environment = {
        **os.environ, "JOURNEYS_DATA_DIR": str(folder / "data"), "JOURNEYS_LISTEN": f"unix:{socket}",
    }  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-m", "services.authoring"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        channel = connect(f"unix:{socket}")
        await wait_ready(channel, 30)
        wire = Wire(channel)
        try:
            await wire.workspaces.CreateWorkspace(
                workspace_service_pb2.CreateWorkspaceRequest(name="Demo", project_key=W, owner_email="o@x.example")
            )
        except grpc.aio.AioRpcError:
            pass  # from the round before
        writers = [asyncio.create_task(_write(wire, f"j{after_seconds}-{i}", acknowledged)) for i in range(4)]
        await asyncio.sleep(after_seconds)
        os.kill(child.pid, signal.SIGKILL)
        await asyncio.gather(*writers)
        await channel.close()
    finally:
        child.kill()
        child.wait()


async def _write(wire: Wire, name: str, acknowledged: dict[str, int]) -> None:
    name = name.replace(".", "-")
    changes = journey_pb2.JourneyChanges(name="Act", steps_json=steps("a"))
    try:
        await wire.authoring.CreateJourney(pb.CreateJourneyRequest(workspace=W, id=name, changes=changes), timeout=5)
        for number in range(1, 10_000):
            reply = await wire.authoring.PublishJourney(pb.PublishJourneyRequest(workspace=W, id=name), timeout=5)
            acknowledged[name] = reply.version
            edit = journey_pb2.JourneyChanges(steps_json=steps(f"s{number}"))
            await wire.authoring.UpdateJourney(pb.UpdateJourneyRequest(workspace=W, id=name, changes=edit), timeout=5)
    except grpc.aio.AioRpcError:
        pass  # killed


async def _all(log: Log, topic: str) -> list[bytes]:
    found: list[bytes] = []
    for partition, end in (await log.ends(topic)).items():
        offset = 0
        while offset < end and (part := await log.read(topic, partition, offset, 1_000)):
            found += [stored.value for stored in part]
            offset = part[-1].offset + 1
    return found
