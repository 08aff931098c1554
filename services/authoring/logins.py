"""E-mail addresses as logins: one person, one workspace.

Law: an address is claimed by one document, and held only while its workspace has the member. A claim whose member
never came (a process died in between) is free again after a minute.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from services.authoring.repositories import LOGINS, WORKSPACES, Login
from services.domain.errors import Duplicate, Fault
from services.infra.documents.port import Documents, DuplicateKey, StaleRevision

MAX_EMAIL: Final = 254  # RFC 5321, 4.5.3.1.3
MAX_PASSWORD: Final = 1_024
ABANDONED_MS: Final = 60_000
ROLES: Final = ("owner", "editor", "viewer")
_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+")


def folded(email: str) -> str:
    """An address as it is compared."""
    return email.strip().casefold()


def email_faults(email: str, path: str) -> list[Fault]:
    """What is wrong with an address."""
    if _EMAIL.fullmatch(email.strip()) and len(email) <= MAX_EMAIL:
        return []
    return [Fault(path, "bad_email", "This is no e-mail address.")]


def password_faults(password: str, path: str) -> list[Fault]:
    """What is wrong with a password."""
    if 1 <= len(password) <= MAX_PASSWORD:
        return []
    return [Fault(path, "out_of_range", f"A password has 1 to {MAX_PASSWORD:,} characters.")]


def role_faults(role: str, allowed: tuple[str, ...] = ROLES) -> list[Fault]:
    """What is wrong with a role."""
    if role in allowed:
        return []
    return [Fault("/role", "unknown_value", f"{role[:80]!r} is none of {', '.join(allowed)}.")]


@dataclass(frozen=True, slots=True)
class Logins:
    """Claims, finds and frees addresses. `real_ms` is the machine's clock."""

    documents: Documents
    real_ms: Callable[[], int]

    async def find(self, email: str) -> Login | None:
        """Who claimed the address."""
        return await self.documents.get(LOGINS, folded(email))

    async def claim(self, email: str, workspace: str, user_id: str, password_hash: str | None) -> Login:
        """Take the address. Raises Duplicate where somebody has it."""
        claim = Login(
            key=folded(email),
            workspace=workspace,
            user_id=user_id,
            password_hash=password_hash,
            claimed_at_ms=self.real_ms(),
        )
        try:
            await self.documents.insert(LOGINS, claim)
            return claim
        except DuplicateKey:
            before = await self.documents.get(LOGINS, claim.key)
        if before is not None and not await self._is_held(before):
            claim = replace(claim, revision=before.revision + 1)
            try:
                await self.documents.replace(LOGINS, claim)
                return claim
            except StaleRevision:
                pass
        raise Duplicate("id_taken", "That e-mail address is a member's already.")

    async def is_ours(self, claim: Login) -> bool:
        """Whether a claim still stands: it may have been taken over from a process that was very slow."""
        held = await self.documents.get(LOGINS, claim.key)
        return held is not None and held.user_id == claim.user_id

    async def free(self, email: str, user_id: str) -> None:
        """Let the address go, if it is still that member's."""
        held = await self.find(email)
        if held is not None and held.user_id == user_id:
            try:
                await self.documents.delete(LOGINS, held.key, held.revision)
            except StaleRevision:
                pass  # somebody else has it now

    async def _is_held(self, login: Login) -> bool:
        if self.real_ms() - login.claimed_at_ms < ABANDONED_MS:
            return True
        workspace = await self.documents.get(WORKSPACES, login.workspace)
        return workspace is not None and any(member.user_id == login.user_id for member in workspace.members)
