"""Audiences: named sets of subjects, by predicate or by list.

Law: an audience is one of the two. A change acts at once on everything that refers to it; so does a deletion, after
which journeys fail visibly when they are triggered.
Source: contract 3, "Audiences".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from services.authoring.changes import UNSET, Absent
from services.authoring.json_text import canonical, read_json
from services.authoring.library import made, refuse
from services.authoring.names import description_faults, etag_of, id_faults, later, require_match, title_faults
from services.authoring.outbox import Outbox, insisting
from services.authoring.repositories import AUDIENCES, Audience, Slice, found, key_of, listed
from services.domain.errors import Fault, Missing
from services.domain.ids import MAX_ID_BYTES
from services.domain.journey.conditions import audiences_in, form_faults
from services.domain.journey.model import Predicate
from services.domain.journey.reading import read_predicate
from services.infra.clock import Clock
from services.infra.documents.port import Documents, DuplicateKey

MAX_SUBJECTS: Final = 100_000
_MAX_LOOKS: Final = 32  # audiences behind audiences
_NONE: Final = Fault("", "missing_member", "An audience needs a predicate or subjectIds.")
_BOTH: Final = Fault("/subjectIds", "conflicting_members", "An audience has a predicate or subjectIds, not both.")


@dataclass(frozen=True, slots=True)
class AudienceChanges:
    """The members of a POST or PATCH."""

    name: str | Absent = UNSET
    description: str | Absent = UNSET
    predicate_json: bytes | Absent = UNSET
    subject_ids: Sequence[str] | Absent = UNSET


@dataclass(frozen=True, slots=True)
class Audiences:
    """List, get, create, update, delete. Raise Missing, Invalid, Duplicate, Unmatched."""

    documents: Documents
    outbox: Outbox
    clock: Clock

    async def page(self, workspace: str, limit: int, cursor: str | None) -> Slice[Audience]:
        """Audiences, newest first."""
        return await listed(self.documents, AUDIENCES, "by_creation", (workspace,), limit, cursor)

    async def get(self, workspace: str, audience_id: str) -> Audience:
        """One audience."""
        audience = await found(self.documents, AUDIENCES, "audience", workspace, audience_id)
        if audience.listed_at_ms is None:
            raise Missing("audience", audience_id)
        return audience

    async def create(
        self, workspace: str, changes: AudienceChanges, audience_id: str | None = None, made_by: str = ""
    ) -> Audience:
        """A new audience; a name and one of predicate and subject ids are needed. `made_by`: see `made`."""
        values, predicate, faults = _read(changes)
        faults.extend(id_faults(audience_id))
        if changes.name is UNSET:
            faults.append(Fault("/name", "missing_member", "The name is missing."))
        if changes.predicate_json is UNSET and changes.subject_ids is UNSET:
            faults.append(_NONE)
        refuse(faults)
        now = self.clock.now_ms()

        def make(name: str) -> Audience:
            return Audience(
                key=key_of(workspace, name),
                workspace=workspace,
                id=name,
                made_by=made_by,
                created_at_ms=now,
                updated_at_ms=now,
                listed_at_ms=now,
                **values,
            )

        async def insert(audience: Audience) -> None:
            if await self.documents.get(AUDIENCES, audience.key) is not None:
                raise DuplicateKey(audience.key)
            refuse(await self._circles(workspace, audience.id, predicate))
            await self.outbox.write(None, audience)

        async def held(audience: Audience) -> Audience | None:
            return await self.documents.get(AUDIENCES, audience.key)

        return await made(audience_id, "aud", values["name"], make, insert, held)

    async def update(
        self, workspace: str, audience_id: str, changes: AudienceChanges, etag: str | None = None
    ) -> Audience:
        """The audience after the changes; a predicate takes the place of a list, and a list of a predicate."""
        values, predicate, faults = _read(changes)

        async def attempt() -> Audience:
            audience = await self.get(workspace, audience_id)
            refuse(faults or await self._circles(workspace, audience_id, predicate))
            require_match(etag, etag_of(audience.updated_at_ms))
            if all(getattr(audience, name) == value for name, value in values.items()):
                return audience
            moment = later(self.clock.now_ms(), audience.updated_at_ms)
            return await self.outbox.write(audience, replace(audience, updated_at_ms=moment, outbox=(), **values))

        return await insisting(key_of(workspace, audience_id), attempt)

    async def delete(self, workspace: str, audience_id: str) -> None:
        """Remove it for everybody, at once."""

        async def attempt() -> None:
            audience = await self.get(workspace, audience_id)
            moment = later(self.clock.now_ms(), audience.updated_at_ms)
            after = replace(audience, listed_at_ms=None, updated_at_ms=moment, outbox=())
            await self.outbox.write(audience, after)

        await insisting(key_of(workspace, audience_id), attempt)

    async def _circles(self, workspace: str, audience_id: str, predicate: Predicate | None) -> list[Fault]:
        """A fault if the predicate would ask, through whatever others, whether somebody is in this very audience."""
        waiting = sorted(audiences_in(predicate)) if predicate is not None else []
        seen: set[str] = set()
        for _ in range(_MAX_LOOKS):
            if audience_id in waiting:
                return [Fault("/predicate", "cycle", "The audience would be defined by itself.")]
            seen.update(waiting)
            keys = [key_of(workspace, name) for name in waiting]
            others = (await self.documents.get_many(AUDIENCES, keys)).values() if keys else ()
            waiting = sorted({name for other in others for name in _named_by(other)} - seen)
            if not waiting:
                return []
        return [Fault("/predicate", "too_deep", f"More than {_MAX_LOOKS} audiences lie behind one another.")]


def faults_of(changes: AudienceChanges) -> list[Fault]:
    """Everything that is wrong with the members of an audience, whatever is in the workspace."""
    return _read(changes)[2]


def _named_by(audience: Audience) -> frozenset[str]:
    if audience.predicate_json is None:
        return frozenset()
    predicate, _ = read_predicate(read_json(audience.predicate_json, "/predicate")[0], "/predicate")
    return frozenset() if predicate is None else audiences_in(predicate)


def _read(changes: AudienceChanges) -> tuple[dict[str, Any], Predicate | None, list[Fault]]:
    """The fields to set, the predicate if one is given, and every fault."""
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    predicate: Predicate | None = None
    if changes.name is not UNSET:
        values["name"] = changes.name
        faults.extend(title_faults(changes.name))
    if changes.description is not UNSET:
        values["description"] = changes.description
        faults.extend(description_faults(changes.description))
    if changes.predicate_json is not UNSET:
        json, found = read_json(changes.predicate_json, "/predicate")
        if not found:
            predicate, found = read_predicate(json, "/predicate")
            found = found or ([] if predicate is None else form_faults(predicate, json, "/predicate"))
        faults.extend(found)
        if not found:
            values |= {"predicate_json": canonical(json), "subject_ids": ()}
    if changes.subject_ids is not UNSET:
        if changes.predicate_json is not UNSET:
            faults.append(_BOTH)
        faults.extend(_subject_faults(changes.subject_ids))
        values |= {"predicate_json": None, "subject_ids": tuple(dict.fromkeys(changes.subject_ids))}
    return values, predicate, faults


def _subject_faults(subject_ids: Sequence[str]) -> list[Fault]:
    if len(subject_ids) > MAX_SUBJECTS:
        return [Fault("/subjectIds", "out_of_range", f"A list has at most {MAX_SUBJECTS:,} subjects.")]
    return [
        Fault(f"/subjectIds/{i}", "out_of_range", f"A subject id has 1 to {MAX_ID_BYTES} bytes.")
        for i, name in enumerate(subject_ids)
        if not 1 <= len(name.encode()) <= MAX_ID_BYTES
    ]
