"""Workspaces: made with their first owner, and their settings.

Law: a workspace is made whole by one write: settings, secrets, owner and session. Its salt and its subject secret
never change, since every holdout and every subject key hangs on them.
Source: contract 1 (Another workspace) and 3 (Workspace).
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from services.authoring.changes import refusal
from services.authoring.json_text import read_json
from services.authoring.logins import Logins, email_faults, password_faults
from services.authoring.names import candidates, etag_of, require_match, slug, title_faults
from services.authoring.outbox import Outbox, insisting
from services.authoring.passwords import Passwords
from services.authoring.repositories import TOKEN_PLACES, WORKSPACES, Act, Member, Session, TokenPlace, Workspace
from services.authoring.tokens import SESSION, hash_of, new_token
from services.authoring.workspace_settings import changed, read_changes
from services.domain.errors import Duplicate, Fault, Invalid, Missing
from services.infra.clock import Clock
from services.infra.documents.port import Documents, DuplicateKey

PROJECT_KEY: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
MAX_TOKEN: Final = 1_000
OWNER: Final = "owner"


@dataclass(frozen=True, slots=True)
class NewWorkspace:
    """What makes a workspace. `session_token` is chosen outside (bootstrap) and does not expire."""

    name: str
    owner_email: str
    project_key: str | None = None
    owner_password: str | None = None
    session_token: str | None = None

    def faults(self) -> list[Fault]:
        """Everything that is wrong with it."""
        found = [*title_faults(self.name), *email_faults(self.owner_email, "/ownerEmail")]
        if self.project_key is not None and not PROJECT_KEY.fullmatch(self.project_key):
            found.append(Fault("/projectKey", "bad_pattern", f"A project key fits {PROJECT_KEY.pattern}."))
        if self.owner_password is not None:
            found.extend(password_faults(self.owner_password, "/ownerPassword"))
        if self.session_token is not None and not 1 <= len(self.session_token) <= MAX_TOKEN:
            found.append(Fault("/sessionToken", "out_of_range", f"A token has 1 to {MAX_TOKEN:,} characters."))
        return found


@dataclass(frozen=True, slots=True)
class Opened:
    """A new workspace, its owner and the owner's session."""

    workspace: Workspace
    owner_user_id: str
    session_token: str


@dataclass(frozen=True, slots=True)
class Workspaces:
    """Create, get, update. Raise Missing, Invalid, Duplicate, Unmatched."""

    documents: Documents
    outbox: Outbox
    logins: Logins
    passwords: Passwords
    clock: Clock
    real_ms: Callable[[], int]
    session_ttl_ms: int

    async def get(self, workspace: str) -> Workspace:
        """One workspace."""
        held = await self.documents.get(WORKSPACES, workspace)
        if held is None:
            raise Missing("workspace", workspace)
        return held

    async def create(self, new: NewWorkspace, actor: str) -> Opened:
        """Make it, with its owner and a session for them."""
        if faults := new.faults():
            raise refusal(faults)
        password_hash = None if new.owner_password is None else await self.passwords.hash(new.owner_password)
        keys = candidates(f"pk_{slug(new.name, 'workspace')[:48]}") if new.project_key is None else (new.project_key,)
        user_id = new_user_id()
        for key in keys:
            if await self.documents.get(WORKSPACES, key) is not None:
                continue
            claim = await self.logins.claim(new.owner_email, key, user_id, password_hash)
            try:
                opened = await self._open(new, key, user_id, actor)
            except DuplicateKey:
                await self.logins.free(new.owner_email, user_id)
                continue
            if not await self.logins.is_ours(claim):
                raise Duplicate("id_taken", "That e-mail address is a member's already.")
            return opened
        raise Duplicate("id_taken", f"The project key {new.project_key or 'made from the name'!r} is taken.")

    async def update(self, workspace: str, changes_json: bytes, actor: str, etag: str | None = None) -> Workspace:
        """The workspace after the changes; null gives a setting its default back."""
        json, faults = read_json(changes_json, "")
        name: str | None = None
        changes: dict[str, Any] = {}
        if not faults:
            name, changes, faults = read_changes(json)

        async def attempt() -> Workspace:
            before = await self.get(workspace)
            if faults:
                raise refusal(faults)
            require_match(etag, etag_of(before.changes))
            settings = changed(before.settings, changes)
            new_name = before.name if name is None else name
            if (new_name, settings) == (before.name, before.settings):
                return before
            members = [*changes, *(["name"] if new_name != before.name else [])]
            now = self.clock.now_ms()
            act = Act(at_ms=now, actor=actor, action="settings.changed", metadata={"members": members})
            after = replace(before, name=new_name, settings=settings, changes=before.changes + 1, outbox=(act,))
            return await self.outbox.write(before, after)

        return await insisting(workspace, attempt)

    async def _open(self, new: NewWorkspace, key: str, user_id: str, actor: str) -> Opened:
        now = self.clock.now_ms()
        token, expires_at_ms = new.session_token, None
        if token is None:
            token, expires_at_ms = new_token(SESSION, key), self.real_ms() + self.session_ttl_ms
        else:
            await self._place(token, key)
        workspace = Workspace(
            key=key,
            workspace=key,
            name=new.name,
            salt=secrets.token_hex(16),
            subject_secret=secrets.token_bytes(32),
            members=(Member(user_id=user_id, email=new.owner_email.strip(), role=OWNER, created_at_ms=now),),
            sessions=(Session(token_hash=hash_of(token), user_id=user_id, expires_at_ms=expires_at_ms),),
            created_at_ms=now,
            outbox=(Act(at_ms=now, actor=actor, action="workspace.created", metadata={"ownerUserId": user_id}),),
        )
        return Opened(await self.outbox.write(None, workspace), user_id, token)

    async def _place(self, token: str, workspace: str) -> None:
        """Note where a token belongs that does not say so itself."""
        place = TokenPlace(key=hash_of(token), workspace=workspace)
        try:
            await self.documents.insert(TOKEN_PLACES, place)
        except DuplicateKey:
            before = await self.documents.get(TOKEN_PLACES, place.key)
            if before is None or before.workspace == workspace:
                return
            if await self.documents.get(WORKSPACES, before.workspace) is not None:
                fault = Fault("/sessionToken", "id_taken", "That token is another workspace's.")
                raise Invalid("validation_error", fault.message, [fault]) from None
            await self.documents.replace(TOKEN_PLACES, replace(place, revision=before.revision + 1))


def new_user_id() -> str:
    """A member's id; it stands in the audit for ever and says nothing of the person."""
    return f"user-{secrets.token_hex(6)}"
