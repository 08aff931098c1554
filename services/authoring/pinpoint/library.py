"""What a translation looks up in the export, and what it has made for the bundle so far.

Law: each audience, contract and communication is made once; journeys name it by its ref.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from services.authoring.bundles.hashes import content_hash
from services.authoring.pinpoint.identity import ref_of, source_id_of
from services.authoring.pinpoint.notes import Notes
from services.authoring.pinpoint.options import Options
from services.domain.journey.model import Json

TemplateFaults = Callable[[str], Sequence[str]]
MAX_TITLE: Final = 500


@dataclass(frozen=True, slots=True)
class Found:
    """An object of the export as it came, and where it stood."""

    value: dict[str, Json]
    path: str


@dataclass(slots=True)
class Library:
    """One translation under way."""

    options: Options
    application_id: str
    notes: Notes
    template_faults: TemplateFaults
    segments: Mapping[str, Found] = field(default_factory=dict)
    templates: Mapping[tuple[str, str], Mapping[str, Found]] = field(default_factory=dict)  # (type, name) -> version
    audiences: dict[str, dict[str, Json]] = field(default_factory=dict)
    contracts: dict[str, dict[str, Json]] = field(default_factory=dict)
    communications: dict[str, dict[str, Json]] = field(default_factory=dict)
    used_templates: set[tuple[str, str, str]] = field(default_factory=set)
    senders: dict[tuple[str, str, str], set[str | None]] = field(default_factory=dict)  # From addresses of a template

    def ref(self, kind: str, source_id: str, application_id: str | None = None) -> str:
        """The ref of a source of this project."""
        return ref_of(self.application_id if application_id is None else application_id, kind, source_id)

    def contract(self, event_name: str) -> str:
        """The trigger contract of an event; its ref."""
        ref = self.ref("contract", event_name)
        if ref not in self.contracts:
            self.contracts[ref] = hashed(
                {
                    "ref": ref,
                    "sourceId": source_id_of(event_name),
                    "name": event_name[:MAX_TITLE],
                    "eventName": event_name,
                    "subjectFieldPath": "endUserId",
                }
            )
        return ref

    def audience_ref(self, segment_id: str, path: str, notes: Notes) -> str:
        """The ref of a segment's audience; said if the segment is not in the export."""
        if segment_id not in self.segments:
            notes.say("audience_missing", path)
        return self.ref("audience", segment_id)


def hashed(thing: dict[str, Any]) -> dict[str, Json]:
    """The object with its contentHash."""
    thing["contentHash"] = content_hash(thing)
    return thing
