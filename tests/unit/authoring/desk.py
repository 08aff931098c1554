"""An author's desk: the authoring service on memory ports, and what the log has heard of it."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from argon2 import PasswordHasher
from journeys.events.v1.authoring_record_pb2 import AuditRecord, CatalogueRecord

from services.authoring.app import Authoring
from services.authoring.audiences import AudienceChanges
from services.authoring.changes import JourneyChanges
from services.authoring.communications import CommunicationChanges
from services.authoring.passwords import Argon2Passwords
from services.authoring.read_journeys import JourneyView
from services.authoring.trigger_contracts import ContractChanges
from services.authoring.workspaces import NewWorkspace
from services.domain.errors import Refused
from services.infra.clock import ManualClock
from services.infra.documents.port import Documents
from services.infra.log.port import Log
from tests.support.memory import MemoryDocuments, MemoryLog

WORKSPACE = "pk_demo"
ANN = "user-ann"
EXIT = {"id": "x", "type": "exit"}


def wait(name: str, next_id: str, duration: str = "PT1H") -> dict[str, Any]:
    return {"id": name, "type": "wait", "mode": "duration", "duration": duration, "next": next_id}


def send(name: str, communication: str, next_id: str) -> dict[str, Any]:
    return {"id": name, "type": "send", "channel": "email", "communicationId": communication, "next": next_id}


def changes(**members: Any) -> JourneyChanges:
    """Changes as an author would write them; steps and settings as values."""
    for name in ("steps", "settings"):
        if name in members:
            members[f"{name}_json"] = json.dumps(members.pop(name)).encode()
    return JourneyChanges(**members)


def found(refused: Refused) -> set[tuple[str, str]]:
    """Where and what the faults are."""
    return {(fault.path, fault.code) for fault in refused.faults}


def paths(refused: Refused) -> list[str]:
    """Where the faults are."""
    return [fault.path for fault in refused.faults]


def codes(view: JourneyView) -> list[str]:
    """What a journey's warnings are."""
    return [fault.code for fault in view.warnings]


class Desk:
    """One authoring process and what it stands on; `killed` puts a new process on the same store."""

    def __init__(self, documents: Documents | None = None, log: Log | None = None) -> None:
        self.clock = ManualClock()
        self.real_ms = self.clock.now_ms()
        self.documents = documents or MemoryDocuments()
        self.log = log or MemoryLog(now_ms=self.clock.now_ms)
        self.authoring = self.another()

    def another(self) -> Authoring:
        """One more process on the same store."""
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        return Authoring(
            self.documents, self.log, self.clock, passwords=Argon2Passwords(cheap), real_ms=lambda: self.real_ms
        )

    async def open(self) -> None:
        await self.authoring.open()
        await self.authoring.workspaces.create(NewWorkspace("Demo", "owner@example.com", WORKSPACE), "system")

    async def killed(self) -> None:
        """The process ends here, wherever it was; another one starts."""
        me = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task is not me and task.get_name().startswith("authoring"):
                task.cancel()
        self.authoring = self.another()
        await self.authoring.open()

    async def draft(self, steps: list[dict[str, Any]] | None = None, **members: Any) -> JourneyView:
        given = {"name": "Activation", **members}
        if steps is not None:
            given["steps"] = steps
        journey_id = given.pop("id", None)
        return await self.authoring.create_journey(WORKSPACE, changes(**given), ANN, journey_id)

    async def published(self, steps: list[dict[str, Any]] | None = None, **members: Any) -> JourneyView:
        made = await self.draft(steps or [EXIT], **members)
        return await self.authoring.publish(WORKSPACE, made.journey.id, ANN)

    async def edit(self, journey_id: str, *, updated_at_ms: int | None = None, **members: Any) -> JourneyView:
        given = changes(**members)
        return await self.authoring.edit_journey(WORKSPACE, journey_id, given, ANN, updated_at_ms=updated_at_ms)

    async def communication(self, comm_type: str = "marketing", **content: Any) -> str:
        given = CommunicationChanges("Mail", comm_type, "email", json.dumps(content or {"subject": "Hi"}).encode())
        return (await self.authoring.communications.create(WORKSPACE, given)).id

    async def contract(self, event_name: str = "signed_up") -> str:
        return (await self.authoring.trigger_contracts.create(WORKSPACE, ContractChanges("Sign-up", event_name))).id

    async def audience(self, predicate: Any = None) -> str:
        given = predicate or {"kind": "attribute", "fieldPath": "plan", "operator": "equals", "value": "pro"}
        made = AudienceChanges(name="Pro", predicate_json=json.dumps(given).encode())
        return (await self.authoring.audiences.create(WORKSPACE, made)).id

    def acts(self, journey_id: str) -> list[AuditRecord]:
        """What the audit topic holds of a journey, in order, twice where it was told twice."""
        assert isinstance(self.log, MemoryLog)
        records = [AuditRecord.FromString(stored.value) for stored in self.log.all("journeys.audit.v1")]
        return [record for record in records if record.journey_id == journey_id]

    def actions(self, journey_id: str) -> list[str]:
        """The actions of a journey, each entry id once."""
        return list({record.id: record.action for record in self.acts(journey_id)}.values())

    def catalogue(self) -> Mapping[str, CatalogueRecord | None]:
        """What the catalogue topic says in the end, by key; None for a tombstone."""
        assert isinstance(self.log, MemoryLog)
        return {
            stored.key: CatalogueRecord.FromString(stored.value) if stored.value else None
            for stored in self.log.all("journeys.authoring.v1")
        }

    def told(self, key: str) -> CatalogueRecord:
        """The record of a key."""
        record = self.catalogue()[f"{WORKSPACE}:{key}"]
        assert record is not None
        return record
