"""Workspaces, members, sessions, API keys: who may act, and who may no more."""

import asyncio
import json

import pytest

from services.authoring.logins import ABANDONED_MS
from services.authoring.repositories import LOGINS, WORKSPACES, Login
from services.authoring.sessions import MAX_SESSIONS
from services.authoring.workspace_settings import settings_of
from services.authoring.workspaces import NewWorkspace
from services.domain.errors import Duplicate, Invalid, Missing, NotNow, Refused, UnknownCaller, Unmatched
from services.infra.log.port import LogUnavailable
from tests.support.memory import MemoryLog
from tests.unit.authoring.desk import ANN, WORKSPACE, Desk

OTHER = NewWorkspace("Acme, Inc.", "Boss@Acme.example", owner_password="pw")


def found(refused: Refused) -> set[tuple[str, str]]:
    return {(fault.path, fault.code) for fault in refused.faults}


async def patch(desk: Desk, **members: object) -> dict[str, object]:
    workspace = await desk.authoring.workspaces.update(WORKSPACE, json.dumps(members).encode(), ANN)
    return {"name": workspace.name, **settings_of(workspace)}


class TestCreateWorkspace:
    """A workspace with its first owner and a session."""

    async def test_the_owner_is_in(self, desk: Desk) -> None:
        """By the session it came with, and by password, whatever the case of the address."""
        opened = await desk.authoring.workspaces.create(OTHER, "system")
        by_session = await desk.authoring.sessions.by_session(opened.session_token)
        token, expires_at_ms = await desk.authoring.sessions.sign_in(" BOSS@acme.EXAMPLE", "pw")

        assert ("pk_acme-inc", "Acme, Inc.", opened.owner_user_id, "Boss@Acme.example", "owner") == (
            by_session.workspace, by_session.workspace_name, by_session.user_id, by_session.email, by_session.role,
        )  # fmt: skip
        assert by_session == await desk.authoring.sessions.by_session(token)
        assert desk.real_ms + 7 * 86_400_000 == expires_at_ms

    async def test_salt_and_secret_are_told_and_never_change(self, desk: Desk) -> None:
        """The runtime hashes with them for ever."""
        before = desk.told(f"workspace:{WORKSPACE}").workspace_record
        await patch(desk, timezone="Europe/Berlin")
        after = desk.told(f"workspace:{WORKSPACE}").workspace_record
        other = await desk.authoring.workspaces.create(OTHER, "system")

        assert (before.salt, before.subject_secret) == (after.salt, after.subject_secret)
        assert len(before.subject_secret) == 32
        assert before.subject_secret != other.workspace.subject_secret
        assert "Europe/Berlin" == json.loads(after.settings_json)["timezone"]

    async def test_a_token_chosen_outside_does_not_expire(self, desk: Desk) -> None:
        """The bootstrap token, of whatever form; another process knows it too."""
        for i, token in enumerate(("secret", "js_pk_demo.abc", "a.b.c")):
            new = NewWorkspace("W", f"o{i}@w.example", f"pk_w{i}", session_token=token)
            opened = await desk.authoring.workspaces.create(new, "system")
            desk.real_ms += 400 * 86_400_000
            identity = await desk.another().sessions.by_session(token)

            assert (token, f"pk_w{i}", "owner") == (opened.session_token, identity.workspace, identity.role)
            assert identity == await desk.authoring.sessions.by_session(token)
        with pytest.raises(Invalid) as refused:
            await desk.authoring.workspaces.create(
                NewWorkspace("W", "o9@w.example", "pk_w9", session_token="secret"), "system"
            )
        assert {("/sessionToken", "id_taken")} == found(refused.value)

    async def test_all_faults_at_once(self, desk: Desk) -> None:
        """Each at its pointer."""
        bad = NewWorkspace("", "nobody", "-X", owner_password="", session_token="")
        with pytest.raises(Invalid) as refused:
            await desk.authoring.workspaces.create(bad, "system")

        assert {
            ("/name", "missing_member"), ("/ownerEmail", "bad_email"), ("/projectKey", "bad_pattern"),
            ("/ownerPassword", "out_of_range"), ("/sessionToken", "out_of_range"),
        } == found(refused.value)  # fmt: skip

    async def test_a_taken_key_or_address_is_refused_and_leaves_nothing(self, desk: Desk) -> None:
        """A made key gets a suffix; an address belongs to one workspace."""
        await desk.authoring.workspaces.create(OTHER, "system")
        second = await desk.authoring.workspaces.create(NewWorkspace("Acme, Inc.", "b@x.example"), "system")
        with pytest.raises(Duplicate):
            await desk.authoring.workspaces.create(NewWorkspace("W", "c@x.example", WORKSPACE), "system")
        with pytest.raises(Duplicate):
            await desk.authoring.workspaces.create(NewWorkspace("W", "boss@acme.example", "pk_w"), "system")

        assert "pk_acme-inc-2" == second.workspace.key
        assert await desk.documents.get(LOGINS, "c@x.example") is None
        with pytest.raises(Missing):
            await desk.authoring.workspaces.get("pk_w")

    async def test_of_two_at_once_one_gets_the_key(self, desk: Desk) -> None:
        """The other's address is free again."""
        outcomes = await asyncio.gather(
            *(
                desk.authoring.workspaces.create(NewWorkspace("W", f"o{i}@w.example", "pk_w"), "system")
                for i in range(2)
            ),
            return_exceptions=True,
        )
        loser = next(i for i, outcome in enumerate(outcomes) if isinstance(outcome, Duplicate))

        assert 1 == sum(isinstance(outcome, Duplicate) for outcome in outcomes)
        await desk.authoring.workspaces.create(NewWorkspace("W", f"o{loser}@w.example", "pk_w2"), "system")

    async def test_killed_before_it_was_told_the_restart_tells(self, desk: Desk) -> None:
        """The workspace exists, and the catalogue has it after the restart."""
        log = desk.log
        assert isinstance(log, MemoryLog)
        log.unavailable = True
        with pytest.raises(LogUnavailable):
            await desk.authoring.workspaces.create(OTHER, "system")
        log.unavailable = False
        await desk.killed()

        assert "pk_acme-inc:workspace:pk_acme-inc" in desk.catalogue()


class TestSettings:
    """GET and PATCH /api/workspace."""

    async def test_the_defaults(self, desk: Desk) -> None:
        """Of contract 3."""
        assert {
            "name": "Demo", "timezone": "UTC", "goalEventWindowDays": 7, "holdout": {"percent": 5},
            "frequencyCaps": None, "dailyCap": None, "quietHours": None, "webhookSecretRef": None, "publicUrl": None,
            "maxJourneys": None,
            "senders": {
                "email": {"type": "outbox"}, "in_app_push": {"type": "in_app"}, "mobile_push": {"type": "outbox"},
            },
        } == await patch(desk)  # fmt: skip

    async def test_null_gives_the_default_back(self, desk: Desk) -> None:
        """And what is not given stays."""
        changed = await patch(desk, timezone="Europe/Berlin", holdout={"percent": 0}, maxJourneys=3, name="New",
                              publicUrl="https://x.example/a", goalEventWindowDays=2.5)  # fmt: skip
        kept = await patch(desk, timezone=None)

        assert ("Europe/Berlin", {"percent": 0}, 3, "New", "https://x.example/a", 2.5) == (
            changed["timezone"], changed["holdout"], changed["maxJourneys"], changed["name"], changed["publicUrl"],
            changed["goalEventWindowDays"],
        )  # fmt: skip
        assert ("UTC", {"percent": 0}) == (kept["timezone"], kept["holdout"])

    async def test_what_was_read_can_be_sent_back(self, desk: Desk) -> None:
        """Server-written members are ignored; nothing changes, so nothing is written."""
        read = await patch(desk, holdout={"percent": 10})
        before = await desk.authoring.workspaces.get(WORKSPACE)
        await patch(desk, **read, projectKey="pk_other")
        after = await desk.authoring.workspaces.get(WORKSPACE)

        assert before.changes == after.changes

    async def test_all_faults_at_once(self, desk: Desk) -> None:
        """Shapes, ranges, unknown members, and what is not there yet, each at its path."""
        with pytest.raises(Invalid) as refused:
            await patch(
                desk, timezone="Mars/One", goalEventWindowDays=0, holdout={"percent": 101, "x": 1}, maxJourneys=1.5,
                publicUrl="ftp://x", foo=1, name=None, quietHours={"start": "22:00", "end": "08:00"},
                frequencyCaps=[], dailyCap={"max": 1}, webhookSecretRef="env:X",
                senders={"email": {"type": "smtp"}, "fax": {}},
            )  # fmt: skip

        assert {
            ("/timezone", "unknown_timezone"), ("/goalEventWindowDays", "out_of_range"),
            ("/holdout/percent", "out_of_range"), ("/holdout/x", "unknown_member"), ("/maxJourneys", "wrong_type"),
            ("/publicUrl", "bad_url"), ("/foo", "unknown_member"), ("/name", "missing_member"),
            ("/quietHours", "not_yet_supported"), ("/frequencyCaps", "not_yet_supported"),
            ("/dailyCap", "not_yet_supported"), ("/webhookSecretRef", "not_yet_supported"),
            ("/senders/email", "not_yet_supported"), ("/senders/fax", "unknown_member"),
        } == found(refused.value)  # fmt: skip
        assert "validation_error" == refused.value.reason

    @pytest.mark.parametrize("bad", [b"", b"[]", b"{", b"1"])
    async def test_no_object_is_refused(self, desk: Desk, bad: bytes) -> None:
        """Whatever the bytes."""
        with pytest.raises(Invalid):
            await desk.authoring.workspaces.update(WORKSPACE, bad, ANN)

    async def test_what_comes_later_has_its_own_reason(self, desk: Desk) -> None:
        """not_yet_supported where that is all."""
        with pytest.raises(Invalid) as refused:
            await patch(desk, dailyCap={"max": 1})

        assert "not_yet_supported" == refused.value.reason

    async def test_tags(self, desk: Desk) -> None:
        """A sign-in does not move the tag, a setting does."""
        await desk.authoring.members.add(WORKSPACE, "e@x.example", "editor", "pw", ANN)
        await desk.authoring.sessions.sign_in("e@x.example", "pw")
        await desk.authoring.workspaces.update(WORKSPACE, b'{"maxJourneys": 1}', ANN, "1")
        with pytest.raises(Unmatched):
            await desk.authoring.workspaces.update(WORKSPACE, b'{"maxJourneys": 2}', ANN, "1")

    async def test_acts_are_told_without_a_journey(self, desk: Desk) -> None:
        """The workspace's own timeline; no secret and no address in it."""
        await patch(desk, timezone="Europe/Berlin")
        member = await desk.authoring.members.add(WORKSPACE, "e@x.example", "editor", "hidden", ANN)
        await desk.authoring.members.change(WORKSPACE, member.user_id, "viewer", ANN)
        key, _ = await desk.authoring.api_keys.create(WORKSPACE, "ci", "", ANN)
        await desk.authoring.api_keys.delete(WORKSPACE, key.id, ANN)
        await desk.authoring.members.remove(WORKSPACE, member.user_id, ANN)

        assert [
            "workspace.created", "settings.changed", "member.added", "member.changed", "key.created", "key.deleted",
            "member.removed",
        ] == desk.actions("")  # fmt: skip
        told = b"".join(act.metadata_json for act in desk.acts(""))
        assert b"hidden" not in told
        assert b"e@x.example" not in told


class TestMembers:
    """Who may sign in."""

    async def test_roles_act_at_once(self, desk: Desk) -> None:
        """With the next call, on the same session."""
        member = await desk.authoring.members.add(WORKSPACE, "Ed@X.example", "editor", "pw", ANN)
        token, _ = await desk.authoring.sessions.sign_in("ed@x.example", "pw")
        await desk.authoring.members.change(WORKSPACE, member.user_id, "viewer", ANN)

        assert "viewer" == (await desk.authoring.sessions.by_session(token)).role
        assert member.user_id == (await desk.authoring.members.change(WORKSPACE, member.user_id, "viewer", ANN)).user_id

    async def test_who_is_removed_is_out(self, desk: Desk) -> None:
        """Sessions end, the password is worth nothing, the address is free; the id is never given again."""
        member = await desk.authoring.members.add(WORKSPACE, "e@x.example", "editor", "pw", ANN)
        token, _ = await desk.authoring.sessions.sign_in("e@x.example", "pw")
        await desk.authoring.members.remove(WORKSPACE, member.user_id, ANN)
        for refused in (desk.authoring.sessions.by_session(token), desk.authoring.sessions.sign_in("e@x.example", "pw")):
            with pytest.raises(UnknownCaller):
                await refused
        again = await desk.authoring.members.add(WORKSPACE, "e@x.example", "editor", "pw2", ANN)

        assert again.user_id != member.user_id
        with pytest.raises(UnknownCaller):
            await desk.authoring.sessions.by_session(token)
        with pytest.raises(Missing):
            await desk.authoring.members.remove(WORKSPACE, member.user_id, ANN)

    async def test_the_last_owner_stays(self, desk: Desk) -> None:
        """Neither removed nor in another role: 409 last_owner."""
        (owner,) = (await desk.authoring.members.page(WORKSPACE, 10, None)).items
        with pytest.raises(NotNow) as refused:
            await desk.authoring.members.remove(WORKSPACE, owner.user_id, ANN)
        with pytest.raises(NotNow):
            await desk.authoring.members.change(WORKSPACE, owner.user_id, "editor", ANN)

        assert "last_owner" == refused.value.reason

    async def test_of_two_owners_who_remove_each_other_one_stays(self, desk: Desk) -> None:
        """Over two processes."""
        (first,) = (await desk.authoring.members.page(WORKSPACE, 10, None)).items
        second = await desk.authoring.members.add(WORKSPACE, "o2@x.example", "owner", "pw", ANN)
        other = desk.another()
        outcomes = await asyncio.gather(
            desk.authoring.members.remove(WORKSPACE, first.user_id, ANN),
            other.members.change(WORKSPACE, second.user_id, "viewer", ANN),
            return_exceptions=True,
        )
        left = (await desk.authoring.members.page(WORKSPACE, 10, None)).items

        assert 1 == sum(isinstance(outcome, NotNow) for outcome in outcomes)
        assert 1 == sum(member.role == "owner" for member in left)
        await other.close()

    async def test_an_address_is_a_member_once(self, desk: Desk) -> None:
        """In the whole installation, whatever its case; of two at once one is made."""
        await desk.authoring.workspaces.create(OTHER, "system")
        outcomes = await asyncio.gather(
            *(desk.authoring.members.add(WORKSPACE, e, "viewer", "pw", ANN) for e in ("a@x.example", "A@X.EXAMPLE")),
            desk.authoring.members.add(WORKSPACE, "boss@acme.example", "viewer", "pw", ANN),
            return_exceptions=True,
        )

        assert 2 == sum(isinstance(outcome, Duplicate) for outcome in outcomes)
        assert 2 == len((await desk.authoring.members.page(WORKSPACE, 10, None)).items)

    async def test_an_address_claimed_by_a_dead_process_is_free_after_a_minute(self, desk: Desk) -> None:
        """It was claimed, and the member never came."""
        claim = Login(
            key="e@x.example", workspace=WORKSPACE, user_id="user-x", password_hash=None, claimed_at_ms=desk.real_ms
        )
        await desk.documents.insert(LOGINS, claim)
        with pytest.raises(Duplicate):
            await desk.authoring.members.add(WORKSPACE, "e@x.example", "viewer", "pw", ANN)
        desk.real_ms += ABANDONED_MS

        assert "viewer" == (await desk.authoring.members.add(WORKSPACE, "e@x.example", "viewer", "pw", ANN)).role

    async def test_refusals(self, desk: Desk) -> None:
        """All faults at once."""
        with pytest.raises(Invalid) as refused:
            await desk.authoring.members.add(WORKSPACE, "x", "boss", "", ANN)

        assert {("/email", "bad_email"), ("/role", "unknown_value"), ("/password", "out_of_range")} == found(refused.value)

    async def test_pages(self, desk: Desk) -> None:
        """Newest first; a member who goes meanwhile disturbs nobody."""
        made = []
        for i in range(4):
            desk.clock.move(1)
            made.append((await desk.authoring.members.add(WORKSPACE, f"m{i}@x.example", "viewer", "pw", ANN)).user_id)
        first = await desk.authoring.members.page(WORKSPACE, 2, None)
        await desk.authoring.members.remove(WORKSPACE, made[2], ANN)
        second = await desk.authoring.members.page(WORKSPACE, 2, first.cursor)
        third = await desk.authoring.members.page(WORKSPACE, 2, second.cursor)

        assert [made[3], made[2]] == [member.user_id for member in first.items]
        assert [made[1], made[0]] == [member.user_id for member in second.items]
        assert ["owner"] == [member.role for member in third.items]
        assert third.cursor is None
        for bad in ("!", "YQ==", "ümlaut"):
            with pytest.raises(Invalid):
                await desk.authoring.members.page(WORKSPACE, 2, bad)


class TestSessions:
    """Cookies."""

    async def test_a_session_ends_by_the_real_clock(self, desk: Desk) -> None:
        """A developer's clock does not end it."""
        await desk.authoring.workspaces.create(OTHER, "system")
        token, expires_at_ms = await desk.authoring.sessions.sign_in("boss@acme.example", "pw")
        desk.clock.move(30 * 86_400_000)
        await desk.authoring.sessions.by_session(token)
        desk.real_ms = expires_at_ms
        with pytest.raises(UnknownCaller):
            await desk.authoring.sessions.by_session(token)

    async def test_signing_out_ends_one_session(self, desk: Desk) -> None:
        """Twice is once; the other sessions go on."""
        await desk.authoring.workspaces.create(OTHER, "system")
        tokens = [(await desk.authoring.sessions.sign_in("boss@acme.example", "pw"))[0] for _ in range(2)]
        for _ in range(2):
            await desk.authoring.sessions.sign_out(tokens[0])
        with pytest.raises(UnknownCaller):
            await desk.authoring.sessions.by_session(tokens[0])

        assert "owner" == (await desk.authoring.sessions.by_session(tokens[1])).role

    @pytest.mark.parametrize(("email", "password"), [("boss@acme.example", "no"), ("who@x", "pw"), ("owner@example.com", "")])
    async def test_who_is_unknown_is_not_told_why(self, desk: Desk, email: str, password: str) -> None:
        """Unknown address, wrong password, no password at all: the same words."""
        await desk.authoring.workspaces.create(OTHER, "system")
        with pytest.raises(UnknownCaller, match="The e-mail address or the password is wrong") as refused:
            await desk.authoring.sessions.sign_in(email, password)

        assert "unauthenticated" == refused.value.reason

    @pytest.mark.parametrize("token", ["", "x", "js_pk_demo.x", "js_pk_none.x", "jk_pk_demo.x", "js_.", "\ud800"])
    async def test_what_is_no_credential_is_refused(self, desk: Desk, token: str) -> None:
        """Neither as a session nor as a key."""
        for ask in (desk.authoring.sessions.by_session, desk.authoring.sessions.by_api_key):
            with pytest.raises(UnknownCaller):
                await ask(token)

    async def test_a_member_has_so_many_sessions_and_no_more(self, desk: Desk) -> None:
        """The oldest ends for a new one; sessions that are over are forgotten; the bootstrap token stays."""
        new = NewWorkspace("W", "o@w.example", "pk_w", owner_password="pw", session_token="boot")
        await desk.authoring.workspaces.create(new, "system")
        first, _ = await desk.authoring.sessions.sign_in("o@w.example", "pw")
        await asyncio.gather(*(desk.authoring.sessions.sign_in("o@w.example", "pw") for _ in range(MAX_SESSIONS)))
        with pytest.raises(UnknownCaller):
            await desk.authoring.sessions.by_session(first)
        workspace = await desk.authoring.workspaces.get("pk_w")
        assert MAX_SESSIONS + 1 == len(workspace.sessions)

        desk.real_ms += 8 * 86_400_000
        await desk.authoring.sessions.sign_in("o@w.example", "pw")
        assert 2 == len((await desk.authoring.workspaces.get("pk_w")).sessions)
        assert "owner" == (await desk.authoring.sessions.by_session("boot")).role

    async def test_nothing_readable_is_stored(self, desk: Desk) -> None:
        """Tokens, secrets and passwords lie hashed."""
        opened = await desk.authoring.workspaces.create(OTHER, "system")
        _, secret = await desk.authoring.api_keys.create(opened.workspace.key, "ci", "viewer", ANN)
        workspace = repr(await desk.documents.get(WORKSPACES, opened.workspace.key))
        login = await desk.documents.get(LOGINS, "boss@acme.example")

        assert opened.session_token not in workspace
        assert secret not in workspace
        assert login is not None
        assert (login.password_hash or "").startswith("$argon2id$")


class TestApiKeys:
    """Machines."""

    async def test_a_key_acts_until_it_is_deleted(self, desk: Desk) -> None:
        """Editor unless said otherwise; it has no e-mail; its id is the actor."""
        key, secret = await desk.authoring.api_keys.create(WORKSPACE, "ci", "", ANN)
        identity = await desk.authoring.sessions.by_api_key(secret)
        assert (WORKSPACE, "Demo", key.id, "", "editor") == (
            identity.workspace, identity.workspace_name, identity.user_id, identity.email, identity.role,
        )  # fmt: skip
        assert [key] == (await desk.authoring.api_keys.page(WORKSPACE, 10, None)).items
        with pytest.raises(UnknownCaller):
            await desk.authoring.sessions.by_session(secret)

        await desk.authoring.api_keys.delete(WORKSPACE, key.id, ANN)

        with pytest.raises(UnknownCaller):
            await desk.authoring.sessions.by_api_key(secret)
        with pytest.raises(Missing):
            await desk.authoring.api_keys.delete(WORKSPACE, key.id, ANN)

    async def test_a_key_is_no_owner(self, desk: Desk) -> None:
        """Nor without a name."""
        with pytest.raises(Invalid) as refused:
            await desk.authoring.api_keys.create(WORKSPACE, "", "owner", ANN)

        assert {("/name", "missing_member"), ("/role", "unknown_value")} == found(refused.value)
