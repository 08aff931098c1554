"""Forgetting a person here: off every list, and out of answers that are kept to be given again.

Law: a list without the person is told to everybody before the caller is answered, as any change of it is. Counted
before it is changed, so that a repeat under one receipt answers the same. Source: runtime design 12; contract 6.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

from services.authoring.names import later
from services.authoring.outbox import Outbox, insisting
from services.authoring.repositories import AUDIENCES, CLAIMS, LISTS_ERASED, WORKSPACES, Audience, Claim, ListsErased
from services.domain.errors import Missing, Unavailable
from services.domain.mentions import Person
from services.infra.clock import Clock
from services.infra.documents.port import Delete, Documents, Insert, Outcome
from services.infra.patience import patiently

# Lists have up to 100,000 ids and answers up to 1 MiB, so few at a time are in memory.
LISTS: Final = 10
ANSWERS: Final = 50


@dataclass(frozen=True, slots=True)
class ErasedHere:
    """How many places on lists the person had, under one receipt always the same; how many answers were dropped now."""

    entries: int
    answers: int


@dataclass(frozen=True, slots=True)
class EraseSubject:
    """Forgets one person. Raises Missing (workspace), Unavailable."""

    documents: Documents
    outbox: Outbox
    clock: Clock

    async def __call__(
        self, workspace: str, subject_key: str, receipt_id: str, *, answers_only: bool = False
    ) -> ErasedHere:
        """Take the person out of lists and kept answers, or out of the answers alone."""
        found = await self.documents.get(WORKSPACES, workspace)
        if found is None:
            raise Missing("workspace", workspace)
        person = Person(workspace, subject_key, found.subject_secret)
        with patiently():
            entries = 0 if answers_only else await self._off_lists(person, receipt_id)
            return ErasedHere(entries, await self._forget_answers(person))

    async def _off_lists(self, person: Person, receipt_id: str) -> int:
        named = [one.key async for one in self._lists(person)]
        fresh = ListsErased(key=receipt_id, entries=len(named))
        await self.documents.write_many([Insert(LISTS_ERASED, fresh)])
        for key in named:
            await insisting(key, lambda key=key: self._off_list(key, person))  # type: ignore[misc]
        kept = await self.documents.get(LISTS_ERASED, receipt_id)
        return (kept or fresh).entries

    async def _off_list(self, key: str, person: Person) -> None:
        audience = await self.documents.get(AUDIENCES, key)
        if audience is None or audience.listed_at_ms is None:
            return
        left = tuple(one for one in audience.subject_ids if not person.is_named_by(one))
        if left != audience.subject_ids:
            moment = later(self.clock.now_ms(), audience.updated_at_ms)
            await self.outbox.write(audience, replace(audience, subject_ids=left, updated_at_ms=moment, outbox=()))

    async def _lists(self, person: Person) -> AsyncIterator[Audience]:
        cursor: str | None = None
        while True:
            page = await self.documents.scan(AUDIENCES, "by_creation", (person.workspace,), after=cursor, limit=LISTS)
            for audience in page.items:
                if any(map(person.is_named_by, audience.subject_ids)):
                    yield audience
            if (cursor := page.cursor) is None:
                return

    async def _forget_answers(self, person: Person) -> int:
        cursor: str | None = None
        answers = 0
        low, high = f"{person.workspace}:", f"{person.workspace};"  # ";" follows ":"
        while True:
            page = await self.documents.scan(CLAIMS, "", low=low, high=high, after=cursor, limit=ANSWERS)
            gone = [Delete(CLAIMS, claim.key, claim.revision) for claim in page.items if _names(claim, person)]
            outcomes = await self.documents.write_many(gone) if gone else []
            if any(outcome is not Outcome.APPLIED for outcome in outcomes):
                raise Unavailable("A kept answer is being changed; try again.")
            answers += len(gone)
            if (cursor := page.cursor) is None:
                return answers


def _names(claim: Claim, person: Person) -> bool:
    """Whether a kept answer names the person; one that cannot be read is taken for one that does."""
    if claim.answer is None:
        return False
    value: Any = None
    try:
        value = msgspec.json.decode(claim.answer.body) if claim.answer.body else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return True
    places = [unquote(part) for header in claim.answer.headers.values() for part in header.split("/")]
    return person.is_in(value) or person.is_in(places)
