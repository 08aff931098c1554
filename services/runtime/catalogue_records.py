"""What authors did, as the runtime keeps it in memory.

Law: values only. They are read from the catalogue topic by `convert.py` and held by `catalog.py`; what is
compiled from them is the catalogue's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.domain.execution.execution import Goal
from services.domain.execution.triggers import Rules
from services.domain.execution.version import Contract
from services.domain.journey.predicate import Audience
from services.domain.times import DAY_MS


@dataclass(frozen=True, slots=True)
class WorkspaceInfo:
    """A workspace's rules. `settings` is contract 3, Workspace; `subject_secret` keys every hash of a person."""

    name: str
    salt: str
    subject_secret: bytes
    timezone: str
    holdout_percent: float
    settings: Mapping[str, Any]
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True)
class JourneyInfo:
    """A journey as it stands: `status` draft, published, paused or archived; `goal` is the one for new executions."""

    id: str
    name: str
    status: str
    latest_version: int
    goal: Goal | None
    goal_since_ms: int | None = None
    goal_window_ms: int = 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class PinnedCommunication:
    """A communication as a version pinned it; `content` has subject, body, text, title, data, from as written."""

    id: str
    version: int
    name: str
    channel: str
    comm_type: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A version as it was published, before anybody has read its graph."""

    journey_id: str
    number: int
    name: str
    steps_json: bytes
    settings_json: bytes
    audience_id: str | None
    contract: Contract | None
    communications: Mapping[str, PinnedCommunication]


@dataclass(frozen=True, slots=True)
class NamedAudience:
    """An audience under its id."""

    id: str
    audience: Audience


@dataclass(frozen=True, slots=True)
class CatalogueChange:
    """One record: what is now so in a workspace."""

    workspace: str
    what: WorkspaceInfo | JourneyInfo | PublishedVersion | NamedAudience
