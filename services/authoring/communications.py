"""Communications: what a message says, versioned.

Law: a version never changes; every change makes a new one, and the older stay readable. Liquid that does not compile
is refused when it is written, so that a publish finds none.
Source: contract 3, "Communications".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from services.authoring.changes import UNSET, Absent
from services.authoring.json_text import canonical, read_json
from services.authoring.library import made, refuse
from services.authoring.names import etag_of, id_faults, later, require_match, title_faults
from services.authoring.outbox import insisting
from services.authoring.repositories import (
    COMMUNICATION_VERSIONS,
    COMMUNICATIONS,
    Communication,
    Slice,
    found,
    key_of,
    listed,
)
from services.authoring.review import content_faults
from services.domain.errors import Fault, Missing
from services.domain.journey.members import Members, wrong_type
from services.domain.journey.model import CHANNELS
from services.infra.clock import Clock
from services.infra.documents.port import Documents, DuplicateKey

COMM_TYPES: Final = ("marketing", "transactional")
ACTIVE, ARCHIVED = "active", "archived"
STATUSES: Final = (ACTIVE, ARCHIVED)
_ONE_LINE: Final = re.compile(r"[^\x00-\x1f\x7f]*")
_TEXTS: Final = ("subject", "body", "text", "title", "from")


@dataclass(frozen=True, slots=True)
class CommunicationChanges:
    """The members of a POST or PATCH; `content_json` is an object of the content members, null removes one."""

    name: str | Absent = UNSET
    comm_type: str | Absent = UNSET
    channel: str | Absent = UNSET
    content_json: bytes | Absent = UNSET
    status: str | Absent = UNSET


@dataclass(frozen=True, slots=True)
class Communications:
    """List, get, create, update, archive. Raise Missing, Invalid, Duplicate, Unmatched."""

    documents: Documents
    clock: Clock

    async def page(self, workspace: str, limit: int, cursor: str | None) -> Slice[Communication]:
        """Communications, newest first."""
        return await listed(self.documents, COMMUNICATIONS, "by_creation", (workspace,), limit, cursor)

    async def get(self, workspace: str, communication_id: str) -> Communication:
        """One communication at its newest version."""
        return await found(self.documents, COMMUNICATIONS, "communication", workspace, communication_id)

    async def version(self, workspace: str, communication_id: str, number: int) -> Communication:
        """One communication as it was at a version."""
        newest = await self.get(workspace, communication_id)
        if number == newest.version:
            return newest
        older = await self.documents.get(COMMUNICATION_VERSIONS, key_of(workspace, communication_id, number))
        if older is None:
            raise Missing("communication", f"{communication_id}/{number}")
        return older

    async def create(
        self, workspace: str, changes: CommunicationChanges, communication_id: str | None = None, made_by: str = ""
    ) -> Communication:
        """A new communication at version 1; name, type and channel are needed. `made_by`: see `made`."""
        content, faults = _read(changes)
        faults.extend(id_faults(communication_id))
        for value, path in (
            (changes.name, "/name"),
            (changes.comm_type, "/commType"),
            (changes.channel, "/channel"),
        ):
            if value is UNSET:
                faults.append(Fault(path, "missing_member", "This member is missing."))
        refuse(faults)
        now = self.clock.now_ms()
        values = _values(changes)

        def make(name: str) -> Communication:
            return Communication(
                key=key_of(workspace, name),
                workspace=workspace,
                id=name,
                made_by=made_by,
                content_json=canonical(_merged({}, content)),
                created_at_ms=now,
                updated_at_ms=now,
                **values,
            )

        async def insert(communication: Communication) -> None:
            await self.documents.insert(COMMUNICATIONS, communication)

        async def held(communication: Communication) -> Communication | None:
            return await self.documents.get(COMMUNICATIONS, communication.key)

        return await made(communication_id, "comm", values["name"], make, insert, held)

    async def update(
        self, workspace: str, communication_id: str, changes: CommunicationChanges, etag: str | None = None
    ) -> Communication:
        """The communication at its next version."""
        content, faults = _read(changes)

        async def attempt() -> Communication:
            before = await self.get(workspace, communication_id)
            refuse(faults)
            require_match(etag, etag_of(before.updated_at_ms))
            # The older version gets its own document first: whoever loses the race below has written the same.
            await self._keep(before)
            held = read_json(before.content_json, "")[0]
            after = replace(
                before,
                version=before.version + 1,
                content_json=canonical(_merged(held, content)),
                **_values(changes),
            )
            return await self._replace(before, after)

        return await insisting(key_of(workspace, communication_id), attempt)

    async def archive(self, workspace: str, communication_id: str) -> Communication:
        """Keep it from new publishes; what is published goes on sending what it pinned. Twice is once."""

        async def attempt() -> Communication:
            before = await self.get(workspace, communication_id)
            if before.status == ARCHIVED:
                return before
            return await self._replace(before, replace(before, status=ARCHIVED))

        return await insisting(key_of(workspace, communication_id), attempt)

    async def _keep(self, older: Communication) -> None:
        try:
            kept = replace(older, key=key_of(older.workspace, older.id, older.version))
            await self.documents.insert(COMMUNICATION_VERSIONS, kept)
        except DuplicateKey:
            pass

    async def _replace(self, before: Communication, after: Communication) -> Communication:
        moment = later(self.clock.now_ms(), before.updated_at_ms)
        stored = replace(after, revision=before.revision + 1, updated_at_ms=moment)
        await self.documents.replace(COMMUNICATIONS, stored)
        return stored


def faults_of(changes: CommunicationChanges) -> list[Fault]:
    """Everything that is wrong with the members of a communication, its Liquid included."""
    return _read(changes)[1]


def _values(changes: CommunicationChanges) -> dict[str, Any]:
    names = ("name", "comm_type", "channel", "status")
    return {name: getattr(changes, name) for name in names if getattr(changes, name) is not UNSET}


def _read(changes: CommunicationChanges) -> tuple[Mapping[str, Any], list[Fault]]:
    """The content members to change, and every fault."""
    faults = [] if changes.name is UNSET else title_faults(changes.name)
    for value, allowed, path in (
        (changes.comm_type, COMM_TYPES, "/commType"),
        (changes.channel, CHANNELS, "/channel"),
        (changes.status, STATUSES, "/status"),
    ):
        if value is not UNSET and value not in allowed:
            faults.append(Fault(path, "unknown_value", f"{value[:80]!r} is none of {', '.join(allowed)}."))
    if changes.content_json is UNSET:
        return {}, faults
    content, found = read_json(changes.content_json, "")
    faults.extend(found)
    if found:
        return {}, faults
    members = Members(content, "", faults)
    for name in _TEXTS:
        members.text(name, pattern=_ONE_LINE if name == "from" else None)
    data = members.free("data")
    if data is not None and not isinstance(data, dict):
        faults.append(wrong_type("/data", data, "an object"))
    members.close()
    if not isinstance(content, dict):
        return {}, faults
    faults.extend(content_faults(content))
    return content, faults


def _merged(held: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**held, **changes}.items() if value is not None}
