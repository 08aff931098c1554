"""What was imported before: one record per object of a source.

Law: unique on (workspace, provider, application, kind, source id): it is the key. A record is written after its object,
so a record's object has been there; one without a record is found again by its id, which the source decides.
Source: pinpoint design 7.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from services.authoring.bundles.form import Item, Kind, Source
from services.authoring.repositories import key_of
from services.infra.documents.port import Collection, Documents, Index, Insert, Replace, Write

_BATCH: Final = 500


class ImportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One imported object; of a placeholder, which is not made, `target_id` is empty. `source_name` is the name the source gave it; `target_hash` what it was after the import.

    `place` and `target` are for the indexes: the ref within its source, and the id with its kind.
    """

    key: str
    revision: int = 1
    place: str
    target: str
    kind: str
    ref: str
    target_id: str
    content_hash: str
    target_hash: str
    source_name: str
    imported_at_ms: int


IMPORTS: Final = Collection(
    "imports", ImportRecord, indexes=(Index("by_place", ("place",)), Index("by_target", ("target",)))
)


def key_for(workspace: str, source: Source, kind: Kind, source_id: str) -> str:
    """The record's key."""
    return key_of(workspace, _digest(source.provider, source.application_id, kind, source_id))


def record_of(
    workspace: str, source: Source, item: Item, target_id: str, target_hash: str, now_ms: int
) -> ImportRecord:
    """The record of an object that is there now."""
    return ImportRecord(
        key=key_for(workspace, source, item.kind, item.source_id),
        place=_place(workspace, source, item.kind, item.ref),
        target=key_of(workspace, item.kind, target_id),
        kind=item.kind,
        ref=item.ref,
        target_id=target_id,
        content_hash=item.content_hash,
        target_hash=target_hash,
        source_name=item.name,
        imported_at_ms=now_ms,
    )


async def held(documents: Documents, workspace: str, source: Source, items: Sequence[Item]) -> dict[str, ImportRecord]:
    """The records of items, by key."""
    keys = [key_for(workspace, source, item.kind, item.source_id) for item in items]
    found: dict[str, ImportRecord] = {}
    for at in range(0, len(keys), _BATCH):
        found.update(await documents.get_many(IMPORTS, keys[at : at + _BATCH]))
    return found


async def elsewhere(
    documents: Documents, workspace: str, source: Source, refs: Iterable[tuple[Kind, str]]
) -> dict[tuple[Kind, str], str | None]:
    """The ids of objects of this source that came with another bundle, by ref; None for a placeholder."""
    found: dict[tuple[Kind, str], str | None] = {}
    for kind, ref in refs:
        page = await documents.scan(IMPORTS, "by_place", (_place(workspace, source, kind, ref),), limit=1)
        for record in page.items:
            found[kind, ref] = record.target_id or None
    return found


async def came_from(documents: Documents, workspace: str, kind: Kind, target_id: str) -> bool:
    """Whether some import made the object."""
    page = await documents.scan(IMPORTS, "by_target", (key_of(workspace, kind, target_id),), limit=1)
    return bool(page.items)


async def settle(documents: Documents, records: Sequence[ImportRecord], before: dict[str, ImportRecord]) -> None:
    """Write records over those that were read. Who meets another writer leaves it: both have looked at one object."""
    writes: list[Write] = []
    for record in records:
        held = before.get(record.key)
        if held is None:
            writes.append(Insert(IMPORTS, record))
        elif replace(held, revision=1, imported_at_ms=record.imported_at_ms) != record:
            writes.append(Replace(IMPORTS, replace(record, revision=held.revision + 1)))
    for at in range(0, len(writes), _BATCH):
        await documents.write_many(writes[at : at + _BATCH])


def _place(workspace: str, source: Source, kind: Kind, ref: str) -> str:
    return key_of(workspace, _digest(source.provider, source.application_id, kind, ref))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
