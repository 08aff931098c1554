"""What people and machines did to preferences and suppressions, as the workspace's audit shows it.

Law: an act is stored with the write that made it, and the log has it before the caller is answered. Killed in
between, the next writer of that document tells it; told twice it is there once, by its id. An act names the person
by id and an address by a keyed hash; never the address itself, never an attribute's value.
Source: contract 3, Workspace; style 1, "store-then-publish without an outbox".
"""

import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import msgspec
from journeys.events.v1.authoring_record_pb2 import AuditRecord

from services.domain.errors import Unavailable
from services.infra.log.port import Log, Record
from services.runtime.catalogue_records import WorkspaceInfo
from services.runtime.collections import AUDIT

SYSTEM = "system"
SUBJECT = "subject"  # the person themselves, by a link in a message
ALL_CHANNELS = "all"  # what a global opt-out is about
REMEMBERED = 10_000  # ids of acts this process told
_PURPOSE = b"journeys audit"  # of the keyed hash, so that it is no other hash of the house
_json = msgspec.json.Encoder(order="deterministic")


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One thing somebody did."""

    id: str
    at: int
    actor: str
    action: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class By:
    """Who did it, by which way (api, import, page, one_click, feedback), and what else the audit should say."""

    actor: str = SYSTEM
    source: str = "api"
    detail: Mapping[str, Any] = field(default_factory=dict)

    def act(self, at: int, action: str, metadata: Mapping[str, Any], name: str | None = None) -> Act:
        """An act of theirs, under an id of its own unless one is given."""
        told = {**metadata, "source": self.source, **self.detail}
        return Act(id=name or uuid4().hex, at=at, actor=self.actor, action=action, metadata=told)


class Acts:
    """Tells acts to the log. `workspace_of` gives a workspace's rules and secrets, or None."""

    def __init__(self, log: Log, workspace_of: Callable[[str], Awaitable[WorkspaceInfo | None]]) -> None:
        self._log = log
        self._workspace_of = workspace_of
        self._told: dict[str, None] = {}

    async def tell(self, workspace: str, acts: Sequence[Act]) -> None:
        """Return once the log has them; those this process told before are passed over. Raises LogUnavailable."""
        fresh = [act for act in acts if act.id not in self._told]
        if not fresh:
            return
        await self._log.append(AUDIT, [_record(workspace, act) for act in fresh])
        if len(self._told) + len(fresh) > REMEMBERED:
            self._told.clear()
        self._told.update(dict.fromkeys(act.id for act in fresh))

    async def hash_of(self, workspace: str, text: str) -> str:
        """A name for a text that tells it to nobody without the workspace's secret. Raises Unavailable."""
        info = await self._workspace_of(workspace)
        if info is None:
            raise Unavailable("This workspace is not known here yet; try again.")
        hashed = hashlib.blake2b(text.encode(), digest_size=16, key=info.subject_secret, person=_PURPOSE)
        return base64.b32encode(hashed.digest()).decode().rstrip("=").lower()


def _record(workspace: str, act: Act) -> Record:
    record = AuditRecord(
        id=act.id,
        workspace=workspace,
        at_ms=act.at,
        actor=act.actor,
        action=act.action,
        metadata_json=_json.encode(act.metadata),
    )
    return Record(f"{workspace}:", record.SerializeToString())  # the key of what belongs to no journey
