"""API keys: credentials for machines.

Law: a secret is shown once, when it is made; afterwards there is only its hash.
Source: contract 1, "API keys".
"""

import secrets
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from services.authoring.changes import refusal
from services.authoring.logins import role_faults
from services.authoring.names import title_faults
from services.authoring.outbox import Outbox, insisting
from services.authoring.repositories import Act, ApiKey, Slice
from services.authoring.rosters import page_of
from services.authoring.tokens import API_KEY, hash_of, new_token
from services.authoring.workspaces import Workspaces
from services.domain.errors import Fault, Missing
from services.infra.clock import Clock

MAX_KEYS: Final = 500
DEFAULT_ROLE: Final = "editor"
ROLES: Final = ("editor", "viewer")


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """List, create, delete. Raise Missing, Invalid."""

    workspaces: Workspaces
    outbox: Outbox
    clock: Clock

    async def page(self, workspace: str, limit: int, cursor: str | None) -> Slice[ApiKey]:
        """Keys, newest first."""
        held = await self.workspaces.get(workspace)
        return page_of(held.api_keys, lambda key: (key.created_at_ms, key.id), limit, cursor)

    async def create(self, workspace: str, name: str, role: str, actor: str) -> tuple[ApiKey, str]:
        """A new key and its secret."""
        role = role or DEFAULT_ROLE
        if faults := [*title_faults(name), *role_faults(role, ROLES)]:
            raise refusal(faults)
        secret = new_token(API_KEY, workspace)
        key = ApiKey(
            id=f"key-{secrets.token_hex(5)}",
            name=name,
            role=role,
            secret_hash=hash_of(secret),
            created_at_ms=self.clock.now_ms(),
        )
        metadata = {"id": key.id, "name": name, "role": role}

        async def attempt() -> None:
            before = await self.workspaces.get(workspace)
            if len(before.api_keys) >= MAX_KEYS:
                raise refusal([Fault("", "too_many", f"A workspace has at most {MAX_KEYS} API keys.")])
            act = Act(at_ms=key.created_at_ms, actor=actor, action="key.created", metadata=metadata)
            await self.outbox.write(before, replace(before, api_keys=(*before.api_keys, key), outbox=(act,)))

        await insisting(workspace, attempt)
        return key, secret

    async def delete(self, workspace: str, key_id: str, actor: str) -> None:
        """The workspace without the key."""

        async def attempt() -> None:
            before = await self.workspaces.get(workspace)
            kept = tuple(key for key in before.api_keys if key.id != key_id)
            if len(kept) == len(before.api_keys):
                raise Missing("API key", key_id)
            act = Act(at_ms=self.clock.now_ms(), actor=actor, action="key.deleted", metadata={"id": key_id})
            await self.outbox.write(before, replace(before, api_keys=kept, outbox=(act,)))

        await insisting(workspace, attempt)
