"""Trigger contracts: which events start journeys, and where in them the subject is found.

Law: every change has a later `version_at`; a published journey keeps the one it pinned.
Source: contract 3, "Trigger contracts".
"""

from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from services.authoring.changes import MAX_REFERENCE, UNSET, Absent
from services.authoring.library import made, refuse
from services.authoring.names import etag_of, id_faults, later, require_match, title_faults
from services.authoring.outbox import insisting
from services.authoring.repositories import (
    JOURNEYS,
    TRIGGER_CONTRACTS,
    Slice,
    TriggerContract,
    found,
    key_of,
    listed,
)
from services.domain.errors import Fault, NotNow
from services.domain.journey.paths import BadPath, read_path
from services.infra.clock import Clock
from services.infra.documents.port import Documents

DEFAULT_PATH: Final = "endUserId"
_USES: Final = ("by_contract_of_draft", "by_contract_of_latest")


@dataclass(frozen=True, slots=True)
class ContractChanges:
    """The members of a POST or PATCH."""

    name: str | Absent = UNSET
    event_name: str | Absent = UNSET
    subject_field_path: str | Absent = UNSET
    recipient_email_field_path: str | Absent | None = UNSET

    def given(self) -> dict[str, Any]:
        """The members that are there, by field name."""
        names = ("name", "event_name", "subject_field_path", "recipient_email_field_path")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not UNSET}

    def faults(self) -> list[Fault]:
        """Everything that is wrong with them."""
        found = [] if self.name is UNSET else title_faults(self.name)
        if self.event_name is not UNSET and not 1 <= len(self.event_name) <= MAX_REFERENCE:
            found.append(Fault("/eventName", "out_of_range", f"An event name has 1 to {MAX_REFERENCE} characters."))
        for path, at in (
            (self.subject_field_path, "/subjectFieldPath"),
            (self.recipient_email_field_path, "/recipientEmailFieldPath"),
        ):
            if isinstance(path, str):
                try:
                    read_path(path)
                except BadPath as refusal:
                    found.append(Fault(at, "bad_path", str(refusal)))
        return found


@dataclass(frozen=True, slots=True)
class TriggerContracts:
    """List, get, create, update, delete. Raise Missing, Invalid, Duplicate, Unmatched, NotNow (in_use)."""

    documents: Documents
    clock: Clock

    async def page(self, workspace: str, limit: int, cursor: str | None) -> Slice[TriggerContract]:
        """Contracts, newest first."""
        return await listed(self.documents, TRIGGER_CONTRACTS, "by_creation", (workspace,), limit, cursor)

    async def get(self, workspace: str, contract_id: str) -> TriggerContract:
        """One contract."""
        return await found(self.documents, TRIGGER_CONTRACTS, "trigger contract", workspace, contract_id)

    async def create(
        self, workspace: str, changes: ContractChanges, contract_id: str | None = None, made_by: str = ""
    ) -> TriggerContract:
        """A new contract; name and event name are needed. `made_by`: see `made`."""
        missing = [
            Fault(path, "missing_member", "This member is missing.")
            for value, path in ((changes.name, "/name"), (changes.event_name, "/eventName"))
            if value is UNSET
        ]
        refuse([*changes.faults(), *missing, *id_faults(contract_id)])
        now = self.clock.now_ms()
        values = {"subject_field_path": DEFAULT_PATH, **changes.given()}

        def make(name: str) -> TriggerContract:
            return TriggerContract(
                key=key_of(workspace, name),
                workspace=workspace,
                id=name,
                made_by=made_by,
                created_at_ms=now,
                version_at_ms=now,
                **values,
            )

        async def insert(contract: TriggerContract) -> None:
            await self.documents.insert(TRIGGER_CONTRACTS, contract)

        async def held(contract: TriggerContract) -> TriggerContract | None:
            return await self.documents.get(TRIGGER_CONTRACTS, contract.key)

        return await made(contract_id, "trig", values["name"], make, insert, held)

    async def update(
        self, workspace: str, contract_id: str, changes: ContractChanges, etag: str | None = None
    ) -> TriggerContract:
        """The contract with a later `version_at`, whatever changed."""

        async def attempt() -> TriggerContract:
            contract = await self.get(workspace, contract_id)
            refuse(changes.faults())
            require_match(etag, etag_of(contract.version_at_ms))
            moment = later(self.clock.now_ms(), contract.version_at_ms)
            after = replace(contract, revision=contract.revision + 1, version_at_ms=moment, **changes.given())
            await self.documents.replace(TRIGGER_CONTRACTS, after)
            return after

        return await insisting(key_of(workspace, contract_id), attempt)

    async def delete(self, workspace: str, contract_id: str) -> None:
        """Remove it, unless a draft or a latest version of a journey that is not archived uses it."""
        contract = await self.get(workspace, contract_id)
        for index in _USES:
            users = await self.documents.scan(JOURNEYS, index, (workspace, contract_id), limit=1)
            for journey in users.items:
                raise NotNow("in_use", f"The journey {journey.id!r} uses it.")
        await self.documents.delete(TRIGGER_CONTRACTS, contract.key)
