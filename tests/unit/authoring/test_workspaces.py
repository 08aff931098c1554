"""Workspaces: made with their owner, and their settings."""

import asyncio
import json

import pytest

from services.authoring.repositories import LOGINS
from services.authoring.workspace_settings import DEFAULT_SENDERS, settings_of
from services.authoring.workspaces import NewWorkspace
from services.domain.errors import Duplicate, Invalid, Missing, Unmatched
from services.infra.log.port import LogUnavailable
from tests.support.memory import MemoryLog
from tests.unit.authoring.desk import ANN, WORKSPACE, Desk, found

OTHER = NewWorkspace("Acme, Inc.", "Boss@Acme.example", owner_password="pw")


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
                publicUrl="ftp://x", foo=1, name=None, quietHours={"start": "22:00", "end": "8"},
                frequencyCaps=[{"max": -1, "per": "P31D"}], dailyCap={}, webhookSecretRef="env:X",
                senders={"email": {"type": "smtp"}, "fax": {}},
            )  # fmt: skip

        assert {
            ("/timezone", "unknown_timezone"), ("/goalEventWindowDays", "out_of_range"),
            ("/holdout/percent", "out_of_range"), ("/holdout/x", "unknown_member"), ("/maxJourneys", "wrong_type"),
            ("/publicUrl", "bad_url"), ("/foo", "unknown_member"), ("/name", "missing_member"),
            ("/quietHours/end", "bad_pattern"), ("/frequencyCaps/0/max", "out_of_range"),
            ("/frequencyCaps/0/per", "out_of_range"), ("/dailyCap/max", "missing_member"), ("/webhookSecretRef", "cannot_resolve"),
            ("/senders/email/host", "missing_member"), ("/senders/email/port", "missing_member"),
            ("/senders/email/security", "missing_member"), ("/senders/email/from", "missing_member"),
            ("/senders/fax", "unknown_member"),
        } == found(refused.value)  # fmt: skip
        assert "validation_error" == refused.value.reason

    @pytest.mark.parametrize("bad", [b"", b"[]", b"{", b"1"])
    async def test_no_object_is_refused(self, desk: Desk, bad: bytes) -> None:
        """Whatever the bytes."""
        with pytest.raises(Invalid):
            await desk.authoring.workspaces.update(WORKSPACE, bad, ANN)

    async def test_a_sender_is_kept_as_it_was_written(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Secrets by name; the other channels keep their defaults; null gives a channel's default back."""
        monkeypatch.setenv("SMTP_PASSWORD", "hunter2")
        smtp = {"type": "smtp", "host": "mail.example.com", "port": 587, "security": "starttls",
                "username": "u", "passwordRef": "env:SMTP_PASSWORD", "from": "a@example.com"}  # fmt: skip
        await patch(desk, senders={"email": smtp}, webhookSecretRef="env:SMTP_PASSWORD")
        kept = settings_of(await desk.authoring.workspaces.get(WORKSPACE))
        await patch(desk, senders={"email": None})

        assert {**DEFAULT_SENDERS, "email": smtp} == kept["senders"]
        assert "hunter2" not in str(kept)
        assert DEFAULT_SENDERS == settings_of(await desk.authoring.workspaces.get(WORKSPACE))["senders"]

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
