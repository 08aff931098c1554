"""Members, sessions, API keys: who may act, and who may no more."""

import asyncio

import pytest

from services.authoring.logins import ABANDONED_MS
from services.authoring.repositories import LOGINS, WORKSPACES, Login
from services.authoring.sessions import MAX_SESSIONS
from services.authoring.workspaces import NewWorkspace
from services.domain.errors import Duplicate, Invalid, Missing, NotNow, UnknownCaller
from tests.unit.authoring.desk import ANN, WORKSPACE, Desk, found

OTHER = NewWorkspace("Acme, Inc.", "Boss@Acme.example", owner_password="pw")


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
        for refused in (
            desk.authoring.sessions.by_session(token),
            desk.authoring.sessions.sign_in("e@x.example", "pw"),
        ):
            with pytest.raises(UnknownCaller):
                await refused
        assert 1 == len((await desk.authoring.workspaces.get(WORKSPACE)).sessions)
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

        assert {("/email", "bad_email"), ("/role", "unknown_value"), ("/password", "out_of_range")} == found(
            refused.value
        )

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

    @pytest.mark.parametrize(
        ("email", "password"), [("boss@acme.example", "no"), ("who@x", "pw"), ("owner@example.com", "")]
    )
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
        stored = await desk.documents.get(WORKSPACES, opened.workspace.key)
        workspace = repr(stored)
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
