"""Who is calling: sessions and API keys as people and machines with a role.

Law: one read answers. Only hashes are stored and compared. A removed member, a changed role and a deleted key act
with the next call. Sessions end by the machine's clock, which nobody moves.
Source: contract 1, "Who may call".
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from services.authoring.logins import Logins
from services.authoring.outbox import insisting
from services.authoring.passwords import Passwords
from services.authoring.repositories import TOKEN_PLACES, WORKSPACES, Session, Workspace
from services.authoring.tokens import API_KEY, SESSION, hash_of, new_token, workspace_in
from services.domain.errors import UnknownCaller
from services.infra.documents.port import Documents, StaleRevision

MAX_SESSIONS: Final = 50  # of one member; the oldest ends for a new one
_MAX_PLACES: Final = 10_000
_SWEPT: Final = 50  # workspaces at a time


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, in which workspace, as what. An API key has no e-mail."""

    workspace: str
    workspace_name: str
    user_id: str
    email: str
    role: str


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sign in and out, and say who a credential is. Raise UnknownCaller."""

    documents: Documents
    logins: Logins
    passwords: Passwords
    real_ms: Callable[[], int]
    ttl_ms: int
    _places: dict[str, str] = field(default_factory=dict)  # of tokens chosen outside; a workspace never moves

    async def sign_in(self, email: str, password: str) -> tuple[str, int]:
        """A token, and when it expires."""
        login = await self.logins.find(email)
        if not await self.passwords.matches(None if login is None else login.password_hash, password) or login is None:
            raise _wrong()
        token = new_token(SESSION, login.workspace)
        expires_at_ms = self.real_ms() + self.ttl_ms
        session = Session(token_hash=hash_of(token), user_id=login.user_id, expires_at_ms=expires_at_ms)

        async def attempt() -> None:
            before = await self.documents.get(WORKSPACES, login.workspace)
            if before is None or not any(member.user_id == login.user_id for member in before.members):
                raise _wrong()
            await self._write(before, _with_session(before, session, self.real_ms()))

        await insisting(login.workspace, attempt)
        return token, expires_at_ms

    async def sign_out(self, token: str) -> None:
        """End a session; one that is not there is ended already."""
        hashed = hash_of(token)

        async def attempt() -> None:
            workspace = await self._workspace_of(token, hashed)
            if workspace is not None:
                kept = tuple(session for session in workspace.sessions if session.token_hash != hashed)
                await self._write(workspace, kept)

        await insisting(hashed, attempt)

    async def sweep(self) -> None:
        """Remove sessions that are over, of every workspace."""
        cursor: str | None = None
        while True:
            page = await self.documents.scan(WORKSPACES, "", after=cursor, limit=_SWEPT)
            for workspace in page.items:
                kept = tuple(session for session in workspace.sessions if not _is_over(session, self.real_ms()))
                if kept != workspace.sessions:
                    try:
                        await self._write(workspace, kept)
                    except StaleRevision:
                        pass  # somebody wrote it meanwhile; it is seen again the next time
            if (cursor := page.cursor) is None:
                return

    async def by_session(self, token: str) -> Identity:
        """The member of a session."""
        hashed = hash_of(token)
        workspace = await self._workspace_of(token, hashed)
        session = None if workspace is None else _session(workspace, hashed)
        if workspace is None or session is None or _is_over(session, self.real_ms()):
            raise UnknownCaller("unauthenticated", "There is no such session, or it has ended.")
        for member in workspace.members:
            if member.user_id == session.user_id:
                return Identity(workspace.key, workspace.name, member.user_id, member.email, member.role)
        raise UnknownCaller("unauthenticated", "The session's member was removed.")

    async def by_api_key(self, secret: str) -> Identity:
        """The API key of a secret."""
        workspace = await self._load(workspace_in(secret, API_KEY))
        if workspace is not None:
            hashed = hash_of(secret)
            for key in workspace.api_keys:
                if key.secret_hash == hashed:
                    return Identity(workspace.key, workspace.name, key.id, "", key.role)
        raise UnknownCaller("unauthenticated", "There is no such API key.")

    async def _workspace_of(self, token: str, hashed: str) -> Workspace | None:
        """The workspace that has the session, if any has."""
        place = workspace_in(token, SESSION)
        workspace = await self._holding(place, hashed)
        if workspace is None and (place := await self._place_of(hashed)) is not None:
            workspace = await self._holding(place, hashed)
        return workspace

    async def _holding(self, place: str | None, hashed: str) -> Workspace | None:
        workspace = await self._load(place)
        return workspace if workspace is not None and _session(workspace, hashed) is not None else None

    async def _load(self, place: str | None) -> Workspace | None:
        if place is None:
            return None
        return await self.documents.get(WORKSPACES, place)

    async def _place_of(self, hashed: str) -> str | None:
        """Where a token belongs that was chosen outside."""
        if hashed not in self._places:
            found = await self.documents.get(TOKEN_PLACES, hashed)
            if found is None:
                return None
            if len(self._places) >= _MAX_PLACES:
                self._places.clear()
            self._places[hashed] = found.workspace
        return self._places[hashed]

    async def _write(self, before: Workspace, sessions: tuple[Session, ...]) -> None:
        # Nobody else hears of sessions: the outbox stays as it is.
        await self.documents.replace(WORKSPACES, replace(before, revision=before.revision + 1, sessions=sessions))


def _session(workspace: Workspace, hashed: str) -> Session | None:
    return next((session for session in workspace.sessions if session.token_hash == hashed), None)


def _is_over(session: Session, now_ms: int) -> bool:
    return session.expires_at_ms is not None and session.expires_at_ms <= now_ms


def _with_session(workspace: Workspace, new: Session, now_ms: int) -> tuple[Session, ...]:
    """The sessions with a new one, without those that are over and without a member's oldest beyond fifty."""
    kept = [session for session in workspace.sessions if not _is_over(session, now_ms)]
    own = [session for session in kept if session.user_id == new.user_id and session.expires_at_ms is not None]
    ended = set(own[: max(0, len(own) + 1 - MAX_SESSIONS)])
    return (*(session for session in kept if session not in ended), new)


def _wrong() -> UnknownCaller:
    return UnknownCaller("unauthenticated", "The e-mail address or the password is wrong.")
