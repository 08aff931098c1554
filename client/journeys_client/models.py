"""The shapes that go in and come out, as the public contract names them.

Plain dictionaries at run time: members that a newer server adds are simply there. Times are RFC 3339 in UTC with
three fraction digits, lengths are ISO 8601 durations (`P3D`). Requests have names of their own only where they differ.
"""

from typing import Any, Literal, NotRequired, TypedDict

JsonObject = dict[str, Any]
Channel = Literal["email", "in_app_push", "mobile_push"]
JourneyStatus = Literal["draft", "published", "paused", "archived"]
ExecutionStatus = Literal["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"]
MessageStatus = Literal["sending", "sent", "failed", "unknown"]
Role = Literal["owner", "editor", "viewer"]


# ------------------------------------------------------------------ journeys


class DraftWarning(TypedDict):
    """A fault of a draft: told, not refused."""

    path: str
    code: str
    message: str


class DraftPointer(TypedDict):
    """Where a draft comes from."""

    basedOnVersion: int | None
    updatedAt: str


class Journey(TypedDict):
    """A journey as the server shows it. `steps` is missing in lists."""

    id: str
    projectKey: str
    name: str
    description: str
    status: JourneyStatus
    version: int | Literal["draft"]
    latestVersion: NotRequired[int | None]
    draft: NotRequired[DraftPointer | None]
    audienceId: NotRequired[str | None]
    triggerContractId: NotRequired[str | None]
    goalEventName: NotRequired[str | None]
    goalEventWindowDays: NotRequired[int]
    goalSince: NotRequired[str | None]
    settings: NotRequired[JsonObject]
    steps: NotRequired[list[JsonObject]]
    warnings: NotRequired[list[DraftWarning]]
    createdAt: str
    updatedAt: str
    publishedAt: NotRequired[str | None]


class JourneyDraft(TypedDict, total=False):
    """What an author writes. To create, `name` is required; an update names what changes, and the `updatedAt` read."""

    id: str
    name: str
    description: str
    audienceId: str | None
    triggerContractId: str | None
    goalEventName: str | None
    goalEventWindowDays: int
    steps: list[JsonObject]
    settings: JsonObject
    updatedAt: str


class Published(TypedDict):
    """The pointer a publish answers with."""

    id: str
    version: int


class ArmReset(TypedDict):
    """An arm that counts anew from the version being published."""

    stepId: str
    armId: str


class AuditEntry(TypedDict):
    """One line of an audit timeline."""

    timestamp: str
    actor: str
    action: str
    metadata: NotRequired[JsonObject]


class StepStats(TypedDict):
    """How many executions a step has executed, skipped and failed, and how many stand in it."""

    stepId: str
    executed: int
    skipped: int
    failed: int
    waiting: int


# ------------------------------------------------------------------ running


class Execution(TypedDict):
    """One run of one version for one person."""

    executionArn: str
    executionId: str
    endUserId: str
    status: ExecutionStatus
    startedAt: str
    endedAt: NotRequired[str | None]
    currentStepId: str | None
    version: int
    correlationId: NotRequired[str]


class HistoryEntry(TypedDict):
    """One thing that happened in an execution."""

    at: str
    stepId: str | None
    event: str
    detail: NotRequired[Any]


class ExecutionDetail(Execution):
    """An execution with what happened in it."""

    history: list[HistoryEntry]
    due: str | None
    context: JsonObject
    exitReason: NotRequired[str | None]


class Started(TypedDict):
    """Whether a start made an execution, and if not, why."""

    executionArn: NotRequired[str]
    executionId: NotRequired[str]
    started: bool
    reason: NotRequired[str]


class Message(TypedDict):
    """What was sent to somebody, the address masked."""

    messageId: str
    executionId: str
    stepId: str
    channel: Channel
    status: MessageStatus
    to: NotRequired[str | None]
    subject: NotRequired[str | None]
    body: NotRequired[str | None]
    sentAt: NotRequired[str | None]
    idempotencyKey: str


class Event(TypedDict):
    """What a customer did. Without `id` the server makes one, and a repeat counts anew."""

    type: str
    id: NotRequired[str]
    endUserId: NotRequired[str]
    data: NotRequired[JsonObject]
    timestamp: NotRequired[str]


class EventFault(TypedDict):
    """Why one event of a batch was refused."""

    index: int
    code: str
    message: str


class EventsReceived(TypedDict):
    """What became of a batch; `received` counts the well-formed ones, duplicates included."""

    received: int
    duplicates: int
    errors: list[EventFault]


# ------------------------------------------------------------------ around the journey


class Trigger(TypedDict, total=False):
    """A trigger contract: which event starts something, and where in it the person stands."""

    id: str
    projectKey: str
    name: str
    eventName: str
    subjectFieldPath: str
    recipientEmailFieldPath: str | None
    versionAt: str


class Audience(TypedDict, total=False):
    """A named set of people, by predicate or by list."""

    id: str
    projectKey: str
    name: str
    description: str
    subjectType: Literal["end_user"]
    predicate: JsonObject
    subjectIds: list[str]
    createdAt: str
    updatedAt: str


class Evaluated(TypedDict):
    """Whether somebody belongs to an audience, and how that came out."""

    matches: bool
    explanation: Any


# A message's content for one channel. `from` is no name in Python, hence this form.
Communication = TypedDict(
    "Communication",
    {
        "id": str,
        "name": str,
        "commType": Literal["marketing", "transactional"],
        "channel": Channel,
        "version": int,
        "subject": str,
        "body": str,
        "text": str,
        "title": str,
        "data": JsonObject,
        "from": str,
        "status": Literal["active", "archived"],
    },
    total=False,
)


class Subject(TypedDict, total=False):
    """A person as the product knows them."""

    endUserId: str
    attributes: JsonObject
    addresses: JsonObject
    timezone: str | None
    locale: str | None
    channelPreferences: dict[str, bool]
    globalOptOut: bool


class LineFault(TypedDict):
    """Why one line of an import was refused."""

    line: int
    code: str
    message: str


class Imported(TypedDict):
    """What became of an import; `errors` holds the first thousand."""

    received: int
    created: int
    updated: int
    errorCount: int
    errors: list[LineFault]


class Suppression(TypedDict):
    """An address nobody may send to."""

    address: str
    reason: NotRequired[str | None]
    createdAt: NotRequired[str]


# ------------------------------------------------------------------ the workspace


class Workspace(TypedDict, total=False):
    """A workspace's settings."""

    projectKey: str
    name: str
    timezone: str
    goalEventWindowDays: int
    holdout: JsonObject
    frequencyCaps: list[JsonObject] | None
    dailyCap: JsonObject | None
    quietHours: JsonObject | None
    senders: JsonObject
    webhookSecretRef: str | None
    publicUrl: str
    maxJourneys: int | None


class Me(TypedDict):
    """Who the caller is."""

    userId: str
    email: NotRequired[str | None]
    role: Role
    projectKey: str
    workspaceName: str


class Member(TypedDict):
    """Somebody who may sign in."""

    userId: str
    email: str
    role: Role


class ApiKey(TypedDict):
    """A credential for machines; `secret` is shown once, when it is made."""

    id: str
    name: str
    role: Role
    secret: NotRequired[str]
    createdAt: str


class WorkspaceCreated(TypedDict):
    """A new workspace and its owner's session."""

    projectKey: str
    name: str
    ownerUserId: str
    sessionToken: str


class ClockMoved(TypedDict):
    """Where the development clock stands."""

    now: str
