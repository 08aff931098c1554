"""Members: who may act in a workspace, and as what.

Law: membership lies in the workspace's own document, so of two decisions one sees the other: the last owner never
goes. Who is removed is out with the same write, sessions and all.
Source: contract 1, "Members".
"""

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from services.authoring.changes import refusal
from services.authoring.logins import Logins, email_faults, password_faults, role_faults
from services.authoring.outbox import Outbox, insisting
from services.authoring.passwords import Passwords
from services.authoring.repositories import Act, Member, Slice, Workspace
from services.authoring.rosters import page_of
from services.authoring.workspaces import OWNER, Workspaces, new_user_id
from services.domain.errors import Duplicate, Fault, Missing, NotNow
from services.infra.clock import Clock

MAX_MEMBERS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Members:
    """List, add, change, remove. Raise Missing, Invalid, Duplicate, NotNow (last_owner)."""

    workspaces: Workspaces
    outbox: Outbox
    logins: Logins
    passwords: Passwords
    clock: Clock

    async def page(self, workspace: str, limit: int, cursor: str | None) -> Slice[Member]:
        """Members, newest first."""
        held = await self.workspaces.get(workspace)
        return page_of(held.members, lambda member: (member.created_at_ms, member.user_id), limit, cursor)

    async def add(self, workspace: str, email: str, role: str, password: str, actor: str) -> Member:
        """A new member, who may sign in with the password."""
        if faults := [*email_faults(email, "/email"), *role_faults(role), *password_faults(password, "/password")]:
            raise refusal(faults)
        held = await self.workspaces.get(workspace)
        if len(held.members) >= MAX_MEMBERS:
            raise refusal([Fault("", "too_many", f"A workspace has at most {MAX_MEMBERS:,} members.")])
        now = self.clock.now_ms()
        member = Member(user_id=new_user_id(), email=email.strip(), role=role, created_at_ms=now)
        claim = await self.logins.claim(email, workspace, member.user_id, await self.passwords.hash(password))
        metadata = {"userId": member.user_id, "role": role}

        async def attempt() -> None:
            before = await self.workspaces.get(workspace)
            act = Act(at_ms=self.clock.now_ms(), actor=actor, action="member.added", metadata=metadata)
            await self.outbox.write(before, replace(before, members=(*before.members, member), outbox=(act,)))

        await insisting(workspace, attempt)
        if not await self.logins.is_ours(claim):
            await self.remove(workspace, member.user_id, actor)
            raise Duplicate("id_taken", "That e-mail address is a member's already.")
        return member

    async def change(self, workspace: str, user_id: str, role: str, actor: str) -> Member:
        """The member in another role, at once."""

        async def attempt() -> Member:
            before = await self.workspaces.get(workspace)
            member = _member(before, user_id)
            if faults := role_faults(role):
                raise refusal(faults)
            if member.role == role:
                return member
            after = replace(member, role=role)
            members = tuple(after if one.user_id == user_id else one for one in before.members)
            _require_owner(members)
            metadata = {"userId": user_id, "role": role}
            act = Act(at_ms=self.clock.now_ms(), actor=actor, action="member.changed", metadata=metadata)
            await self.outbox.write(before, replace(before, members=members, outbox=(act,)))
            return after

        return await insisting(workspace, attempt)

    async def remove(self, workspace: str, user_id: str, actor: str) -> None:
        """The workspace without the member and their sessions."""

        async def attempt() -> Member:
            before = await self.workspaces.get(workspace)
            member = _member(before, user_id)
            members = tuple(one for one in before.members if one.user_id != user_id)
            _require_owner(members)
            sessions = tuple(session for session in before.sessions if session.user_id != user_id)
            act = Act(at_ms=self.clock.now_ms(), actor=actor, action="member.removed", metadata={"userId": user_id})
            await self.outbox.write(before, replace(before, members=members, sessions=sessions, outbox=(act,)))
            return member

        member = await insisting(workspace, attempt)
        await self.logins.free(member.email, user_id)


def _member(workspace: Workspace, user_id: str) -> Member:
    for member in workspace.members:
        if member.user_id == user_id:
            return member
    raise Missing("member", user_id)


def _require_owner(members: tuple[Member, ...]) -> None:
    if not any(member.role == OWNER for member in members):
        raise NotNow("last_owner", "A workspace keeps one owner at least.")
