"""What is in the workspace, in the form in which bundles speak of it.

Law: writes nothing. A body here is the API's, with ids; the hash of a target is that of its export, so that what was
exported and what is here can be compared without asking when.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.authoring.bundles.form import Body, Kind, normal
from services.authoring.bundles.hashes import content_hash
from services.authoring.bundles.refs import to_refs
from services.authoring.communications import ARCHIVED
from services.authoring.json_text import read_json
from services.authoring.names import etag_of
from services.authoring.read_journeys import Journeys
from services.authoring.repositories import (
    AUDIENCES,
    COMMUNICATIONS,
    JOURNEYS,
    TRIGGER_CONTRACTS,
    Audience,
    Communication,
    Journey,
    TriggerContract,
    key_of,
)
from services.domain.journey.lifecycle import State
from services.infra.documents.port import Collection, Documents

COLLECTIONS: Final[Mapping[Kind, Collection[Any]]] = {
    Kind.AUDIENCE: AUDIENCES,
    Kind.CONTRACT: TRIGGER_CONTRACTS,
    Kind.COMMUNICATION: COMMUNICATIONS,
    Kind.JOURNEY: JOURNEYS,
}
_BATCH: Final = 200

Stored = Audience | TriggerContract | Communication | Journey


@dataclass(frozen=True, slots=True)
class Target:
    """An object of the workspace: `body` as the API shows it, `etag` of this very state."""

    kind: Kind
    id: str
    body: Body
    etag: str
    is_archived: bool = False
    is_published: bool = False
    state: str = ""

    @property
    def name(self) -> str:
        """The display name."""
        return str(self.body["name"])

    @property
    def hash(self) -> str:
        """The contentHash of its export."""
        return content_hash(to_refs(self.kind, self.body))


@dataclass(frozen=True, slots=True)
class Targets:
    """Reads the objects of a workspace."""

    documents: Documents
    journeys: Journeys

    async def of(self, workspace: str, wanted: Iterable[tuple[Kind, str]]) -> dict[tuple[Kind, str], Target]:
        """Those of the objects that are there, by kind and id."""
        by_kind: dict[Kind, list[str]] = {}
        for kind, name in dict.fromkeys(wanted):
            by_kind.setdefault(kind, []).append(name)
        found: dict[tuple[Kind, str], Target] = {}
        for kind, names in by_kind.items():
            for at in range(0, len(names), _BATCH):
                keys = [key_of(workspace, name) for name in names[at : at + _BATCH]]
                stored = await self.documents.get_many(COLLECTIONS[kind], keys)
                for target in await self._read(list(stored.values())):
                    found[kind, target.id] = target
        return found

    async def all(self, workspace: str, kind: Kind) -> list[Target]:
        """Every object of a kind, also archived ones, by id."""
        found: list[Target] = []
        index, cursor = "by_creation", None
        while True:
            page = await self.documents.scan(COLLECTIONS[kind], index, (workspace,), after=cursor, limit=_BATCH)
            found.extend(await self._read(page.items))
            if (cursor := page.cursor) is None:
                return sorted(found, key=lambda target: target.id)

    async def names(self, workspace: str, kind: Kind) -> dict[str, list[str]]:
        """The ids of all objects of a kind that are in use, by display name."""
        found: dict[str, list[str]] = {}
        cursor = None
        while True:
            page = await self.documents.scan(COLLECTIONS[kind], "by_creation", (workspace,), after=cursor, limit=_BATCH)
            for stored in page.items:
                if not (isinstance(stored, Journey) and stored.state is State.ARCHIVED):
                    found.setdefault(stored.name, []).append(stored.id)
            if (cursor := page.cursor) is None:
                return found

    async def _read(self, stored: Sequence[Stored]) -> list[Target]:
        found = []
        for document in stored:
            match document:
                case Journey():
                    found.append(await self._journey(document))
                case Audience() if document.listed_at_ms is not None:
                    found.append(_audience(document))
                case Audience():
                    pass  # deleted, and waiting to be told
                case TriggerContract():
                    found.append(_contract(document))
                case Communication():
                    found.append(_communication(document))
        return found

    async def _journey(self, journey: Journey) -> Target:
        draft = journey.draft
        if draft is not None:
            steps, settings = draft.steps_json, draft.settings_json
        else:
            version = await self.journeys.version_of(journey, journey.latest_version)
            steps, settings = version.steps_json, version.settings_json
        members = {
            "name": journey.name,
            "description": journey.description,
            "audienceId": journey.audience_id,
            "triggerContractId": journey.trigger_contract_id,
            "goalEventName": journey.goal_event_name,
            "goalEventWindowDays": journey.goal_event_window_days,
            "steps": read_json(steps, "")[0],
            "settings": read_json(settings, "")[0],
        }
        return Target(
            Kind.JOURNEY,
            journey.id,
            normal(Kind.JOURNEY, members, "audienceId", "triggerContractId"),
            etag_of(journey.updated_at_ms),
            is_archived=journey.state is State.ARCHIVED,
            is_published=journey.state in (State.PUBLISHED, State.PAUSED),
            state=journey.state.value,
        )


def _audience(audience: Audience) -> Target:
    members: dict[str, Any] = {"name": audience.name, "description": audience.description}
    if audience.predicate_json is None:
        members["subjectIds"] = list(audience.subject_ids)
    else:
        members["predicate"] = read_json(audience.predicate_json, "")[0]
    return Target(Kind.AUDIENCE, audience.id, normal(Kind.AUDIENCE, members), etag_of(audience.updated_at_ms))


def _contract(contract: TriggerContract) -> Target:
    members = {
        "name": contract.name,
        "eventName": contract.event_name,
        "subjectFieldPath": contract.subject_field_path,
        "recipientEmailFieldPath": contract.recipient_email_field_path,
    }
    return Target(Kind.CONTRACT, contract.id, normal(Kind.CONTRACT, members), etag_of(contract.version_at_ms))


def _communication(communication: Communication) -> Target:
    content = read_json(communication.content_json, "")[0]
    members = {
        **(content if isinstance(content, dict) else {}),
        "name": communication.name,
        "commType": communication.comm_type,
        "channel": communication.channel,
    }
    return Target(
        Kind.COMMUNICATION,
        communication.id,
        normal(Kind.COMMUNICATION, members),
        etag_of(communication.updated_at_ms),
        is_archived=communication.status == ARCHIVED,
    )
