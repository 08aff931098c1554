"""What remains of a person who was forgotten, and who may ask for it.

Law: no document here holds an id, an address, or anything else that can be read back; what names the person is the
keyed subject key. The mark stays for ever: while it stands and nobody made the person known again, nothing of theirs
is taken in. Names of collections, fields and indexes are stored: choose once. Times are milliseconds, UTC.
Source: runtime design 1, 2.2 and 12; contract 6.
"""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from services.domain.errors import Unavailable
from services.domain.execution.eligibility import normal
from services.domain.execution.execution import FOREVER
from services.infra.documents.port import Collection, Documents, Index, StaleRevision
from services.runtime.catalogue_records import WorkspaceInfo
from services.runtime.lanes import subject_of
from services.runtime.subject_documents import SUPPRESSIONS, suppression_key

DONE = "done"
_PURPOSE = b"journeys suppr."  # of the keyed hash of an address, so that it is no other hash of the house
_EVENTS = b"journeys spent"  # the same, of an event id
_FRESH = 100_000  # keys this process remembers to have forgotten


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """The mark. `reinstated_at`: since when the person is known again, by a PUT of their profile."""

    key: str  # the subject key
    workspace: str
    receipt_id: str
    forgotten_at: int
    reinstated_at: int | None = None
    revision: int = 1

    @property
    def known_from(self) -> int:
        """Events that happened or came before that moment are nobody's."""
        return FOREVER if self.reinstated_at is None else self.reinstated_at


ERASURES: Collection[Erasure] = Collection("erasures", Erasure)


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """One forget: how far it has come, what it found, and when it is looked at again.

    `phase` names what is to be done next. `stopped` are executions that ran, `executions` all that were shown.
    """

    key: str  # the receipt's id
    workspace: str
    subject_key: str
    forgotten_at: int
    phase: str
    stopped: int = 0
    executions: int = 0
    messages: int = 0
    in_app: int = 0
    events: int = 0
    profile: int = 0
    audience_entries: int = 0
    audit_entries: int = 0
    address_hashes: tuple[str, ...] = ()  # as the audit names suppressed addresses; gone once that is cleaned
    retained_until: int | None = None
    next_at: int | None = None
    revision: int = 1


RECEIPTS: Collection[Receipt] = Collection("erasure_receipts", Receipt, indexes=(Index("due", ("next_at",)),))


class HiddenSuppression(msgspec.Struct, frozen=True, kw_only=True):
    """An address that nobody may write to and nobody can read: it belonged to a person who was forgotten."""

    key: str  # <workspace>:<keyed hash of the normal address>
    reason: str = ""
    created_at: int
    revision: int = 1


HIDDEN_SUPPRESSIONS: Collection[HiddenSuppression] = Collection("hidden_suppressions", HiddenSuppression)


class SpentEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was decided for a person who was forgotten since: its id decides nothing anew, ever."""

    key: str  # <subject key>:<keyed hash of the event id>
    revision: int = 1


SPENT_EVENTS: Collection[SpentEvent] = Collection("spent_events", SpentEvent)

ERASURE_COLLECTIONS = (ERASURES, RECEIPTS, HIDDEN_SUPPRESSIONS, SPENT_EVENTS)


def start_of(journey_id: str, event_id: str) -> str:
    """The name under which one journey's start by that event id is spent: another journey may still be started."""
    return f"{journey_id} {event_id}"


def spent_key(subject_key: str, secret: bytes, event_id: str) -> str:
    """The key under which an event id is spent that nobody can read any more."""
    hashed = hashlib.blake2b(event_id.encode(), digest_size=16, key=secret, person=_EVENTS)
    return f"{subject_key}:{base64.b32encode(hashed.digest()).decode().rstrip('=').lower()}"


def hidden_key(workspace: str, secret: bytes, address: str) -> str:
    """The key under which an address is suppressed that nobody can read any more."""
    hashed = hashlib.blake2b(normal(address).encode(), digest_size=16, key=secret, person=_PURPOSE)
    return f"{workspace}:{base64.b32encode(hashed.digest()).decode().rstrip('=').lower()}"


async def suppressed_among(documents: Documents, asked: Iterable[tuple[str, bytes, str]]) -> set[tuple[str, str]]:
    """Those of the addresses (workspace, its secret, address) nobody may write to: (workspace, normal address)."""
    addresses = list(asked)
    if not addresses:
        return set()
    listed = {suppression_key(workspace, address): (workspace, normal(address)) for workspace, _, address in addresses}
    found, any_hidden = await asyncio.gather(
        documents.get_many(SUPPRESSIONS, list(listed)), documents.scan(HIDDEN_SUPPRESSIONS, "", limit=1)
    )
    suppressed = {listed[key] for key in found}
    if any_hidden.items:  # else nobody's key has to be made: that costs as much as looking an address up
        hidden = {hidden_key(*one): (one[0], normal(one[2])) for one in addresses}
        suppressed |= {hidden[key] for key in await documents.get_many(HIDDEN_SUPPRESSIONS, list(hidden))}
    return suppressed


class Marks:
    """Who was forgotten. `workspace_of` gives a workspace's secrets, or None."""

    def __init__(self, documents: Documents, workspace_of: Callable[[str], Awaitable[WorkspaceInfo | None]]) -> None:
        self._documents = documents
        self._workspace_of = workspace_of
        self._fresh: dict[str, None] = {}

    async def among(self, subject_keys: Iterable[str]) -> dict[str, Erasure]:
        """The marks of those who were forgotten at any time, those known again included. Raises StoreUnavailable."""
        keys = list(dict.fromkeys(subject_keys))
        return await self._documents.get_many(ERASURES, keys) if keys else {}

    async def forgotten(self, people: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of the people (workspace, end-user id) who are forgotten now."""
        keys = {person: await self._key_of(*person) for person in people}
        marks = await self.among(key for key in keys.values() if key)
        return {person for person, key in keys.items() if key in marks and marks[key].reinstated_at is None}

    async def spent(self, asked: Iterable[tuple[str, bytes, str]]) -> set[str]:
        """Those event ids (of subject key, secret, event id) that were decided before the person was forgotten.

        Raises StoreUnavailable.
        """
        events = list(asked)
        marks = await self.among(subject_key for subject_key, _, _ in events)
        keys = {spent_key(*one): one[2] for one in events if one[0] in marks}
        return {keys[key] for key in await self._documents.get_many(SPENT_EVENTS, list(keys))} if keys else set()

    def note(self, subject_key: str) -> None:
        """This process forgets that person: what it still holds of theirs is dropped where it would come out."""
        if len(self._fresh) >= _FRESH:
            del self._fresh[next(iter(self._fresh))]
        self._fresh[subject_key] = None

    async def is_gone(self, subject_key: str, started_at: int) -> bool:
        """Whether this process forgot that person, and what started then (ms) was before anybody made them known again.

        That may have been another process, so the mark decides. Raises StoreUnavailable.
        """
        if subject_key not in self._fresh:
            return False
        mark = await self._documents.get(ERASURES, subject_key)
        return mark is not None and started_at < mark.known_from

    async def reinstate(self, workspace: str, end_user_id: str, now: int) -> int | None:
        """Make a forgotten person known again; the moment from which events count, None if nobody was forgotten.

        Raises Unavailable while the person is still being forgotten.
        """
        key = await self._key_of(workspace, end_user_id)
        while key is not None:
            mark = await self._documents.get(ERASURES, key)
            if mark is None or mark.reinstated_at is not None:
                return None if mark is None else mark.reinstated_at
            receipt = await self._documents.get(RECEIPTS, mark.receipt_id)
            if receipt is None or receipt.phase != DONE:
                raise Unavailable("This person is being forgotten; try again.")
            again = msgspec.structs.replace(mark, reinstated_at=now, revision=mark.revision + 1)
            try:
                await self._documents.replace(ERASURES, again)
            except StaleRevision:
                continue
            self._fresh.pop(key, None)
            return now
        return None

    async def hidden(self, workspace: str, address: str) -> HiddenSuppression | None:
        """The suppression of an address that nobody can read any more, if there is one."""
        info = await self._workspace_of(workspace)
        if info is None:
            return None
        return await self._documents.get(HIDDEN_SUPPRESSIONS, hidden_key(workspace, info.subject_secret, address))

    async def _key_of(self, workspace: str, end_user_id: str) -> str | None:
        info = await self._workspace_of(workspace)
        return None if info is None else subject_of(workspace, info.subject_secret, end_user_id).key
