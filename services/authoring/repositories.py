"""What authoring stores: one document type per collection, and how each is found.

Law: a document is never half written and never written blind. What others must hear of a write lies in the same
document as its `outbox` until the log has it (`outbox.py`). Keys are `<projectKey>:<id>`; a workspace id is its
project key. Times are ms UTC. Stored names are for ever.
"""

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from services.domain.errors import Fault, Invalid, Missing
from services.domain.journey.lifecycle import State
from services.infra.documents.port import BadCursor, Collection, Documents, Index, Value
from services.infra.grpc.limits import MAX_PAGE_BYTES

T = TypeVar("T")

MAX_LIMIT: Final = 500
_STRIDE: Final = 100  # documents read at once: each may have a megabyte
_ENCODE: Final = msgspec.msgpack.Encoder().encode


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One authoring act, as the audit shows it. `id` is given with the write that stores it."""

    id: str = ""
    at_ms: int
    actor: str
    action: str
    metadata: dict[str, Any] = {}


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """A document whose every write is announced in the log.

    `outbox` holds the acts of the last writes; `outbox_open` is 1 (and in an index) until they are known to be told.
    """

    key: str
    revision: int = 0
    workspace: str
    created_at_ms: int
    outbox: tuple[Act, ...] = ()
    outbox_open: int | None = None


class PinnedContract(msgspec.Struct, frozen=True, kw_only=True):
    """A trigger contract as a version pinned it."""

    id: str
    event_name: str
    subject_field_path: str
    recipient_email_field_path: str | None = None
    version_at_ms: int


class PinnedCommunication(msgspec.Struct, frozen=True, kw_only=True):
    """A communication as a version pinned it."""

    id: str
    version: int
    name: str
    channel: str
    comm_type: str
    content_json: bytes


class ArmReset(msgspec.Struct, frozen=True):
    """An arm that counts anew from a version on."""

    step_id: str
    arm_id: str


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A published snapshot of a journey. Never changed."""

    key: str
    revision: int = 1
    workspace: str
    journey_key: str
    journey_id: str
    version: int
    name: str
    steps_json: bytes
    settings_json: bytes
    audience_id: str | None = None
    trigger_contract: PinnedContract | None = None
    communications: tuple[PinnedCommunication, ...] = ()
    reset_arms: tuple[ArmReset, ...] = ()
    published_at_ms: int
    published_by: str


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A journey as it is being edited."""

    steps_json: bytes
    settings_json: bytes
    audience_id: str | None = None
    trigger_contract_id: str | None = None
    based_on_version: int | None = None
    updated_at_ms: int


class Latest(msgspec.Struct, frozen=True, kw_only=True):
    """What a list shows of the latest version; the whole of it is a document of its own."""

    settings_json: bytes
    audience_id: str | None = None
    trigger_contract_id: str | None = None


class Journey(Announced, frozen=True, kw_only=True):
    """A journey: head and draft. `pending_version` is a version that this very write made, until it has its own document."""

    id: str
    name: str
    description: str = ""
    state: State = State.DRAFT
    latest_version: int = 0
    latest: Latest | None = None
    draft: Draft | None = None
    pending_version: Version | None = None
    goal_event_name: str | None = None
    goal_event_window_days: float
    goal_since_ms: int | None = None
    updated_at_ms: int
    made_by: str = ""  # the key of the request that made it, if that may come again
    published_at_ms: int | None = None
    contract_of_draft: str | None = None  # these two for the index only
    contract_of_latest: str | None = None

    @property
    def audience_id(self) -> str | None:
        """Of the draft if there is one, else of the latest version."""
        shown = self.draft or self.latest
        return None if shown is None else shown.audience_id

    @property
    def trigger_contract_id(self) -> str | None:
        """Of the draft if there is one, else of the latest version."""
        shown = self.draft or self.latest
        return None if shown is None else shown.trigger_contract_id

    @property
    def settings_json(self) -> bytes:
        """Of the draft if there is one, else of the latest version."""
        shown = self.draft or self.latest
        return b"{}" if shown is None else shown.settings_json


class TriggerContract(msgspec.Struct, frozen=True, kw_only=True):
    """Which events start journeys, and where in them the subject is found."""

    key: str
    revision: int = 0
    workspace: str
    id: str
    name: str
    event_name: str
    subject_field_path: str
    recipient_email_field_path: str | None = None
    created_at_ms: int
    version_at_ms: int
    made_by: str = ""  # the key of the request that made it, if that may come again


class Audience(Announced, frozen=True, kw_only=True):
    """A named set of subjects. `listed_at_ms` is absent once it is deleted and only waits to be announced as gone."""

    id: str
    name: str
    description: str = ""
    predicate_json: bytes | None = None
    subject_ids: tuple[str, ...] = ()
    updated_at_ms: int
    listed_at_ms: int | None
    made_by: str = ""  # the key of the request that made it, if that may come again


class Communication(msgspec.Struct, frozen=True, kw_only=True):
    """A message's content, at its newest version."""

    key: str
    revision: int = 0
    workspace: str
    id: str
    name: str
    comm_type: str
    channel: str
    version: int = 1
    content_json: bytes
    status: str = "active"
    created_at_ms: int
    updated_at_ms: int
    made_by: str = ""  # the key of the request that made it, if that may come again


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """Someone who may sign in to the workspace."""

    user_id: str
    email: str
    role: str
    created_at_ms: int


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in, by the hash of its token. Without `expires_at_ms` (the machine's clock) it does not expire."""

    token_hash: str
    user_id: str
    expires_at_ms: int | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A credential for machines, by the hash of its secret."""

    id: str
    name: str
    role: str
    secret_hash: str
    created_at_ms: int


class Workspace(Announced, frozen=True, kw_only=True):
    """A tenant, with everybody who may act in it: so each change of membership is one guarded decision, and who
    somebody is takes one read. `settings` holds what differs from the defaults; `changes` counts writes of it.
    """

    name: str
    settings: dict[str, Any] = {}
    changes: int = 1
    salt: str
    subject_secret: bytes
    members: tuple[Member, ...] = ()
    sessions: tuple[Session, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """An e-mail address (the key, folded) and its password. It holds only while the workspace has the member."""

    key: str
    revision: int = 1
    workspace: str
    user_id: str
    password_hash: str | None = None
    claimed_at_ms: int


class TokenPlace(msgspec.Struct, frozen=True, kw_only=True):
    """The workspace of a session token that was chosen outside, by the token's hash."""

    key: str
    revision: int = 1
    workspace: str


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The first answer to a request with an Idempotency-Key."""

    status: int
    content_type: str
    body: bytes
    headers: dict[str, str] = {}


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """An Idempotency-Key in use. Without `answer`, somebody is at it."""

    key: str
    revision: int = 1
    fingerprint: str
    claimed_at_ms: int
    expires_at_ms: int
    since_ms: int = 0  # of the request's first coming: the same for a repeat of what was broken off
    answer: StoredAnswer | None = None


class ListsErased(msgspec.Struct, frozen=True, kw_only=True):
    """How many places on lists a forgotten person had, by the receipt of the forgetting."""

    key: str
    revision: int = 1
    entries: int


_CREATED: Final = Index("by_creation", ("workspace", "created_at_ms"))
_OUTBOX: Final = Index("by_outbox", ("outbox_open",))

JOURNEYS: Final = Collection(
    "journeys",
    Journey,
    indexes=(
        _CREATED,
        Index("by_state", ("workspace", "state")),
        Index("by_contract_of_draft", ("workspace", "contract_of_draft")),
        Index("by_contract_of_latest", ("workspace", "contract_of_latest")),
        _OUTBOX,
    ),
)
VERSIONS: Final = Collection("versions", Version, indexes=(Index("by_journey", ("journey_key", "version")),))
TRIGGER_CONTRACTS: Final = Collection("trigger_contracts", TriggerContract, indexes=(_CREATED,))
AUDIENCES: Final = Collection(
    "audiences", Audience, indexes=(Index("by_creation", ("workspace", "listed_at_ms")), _OUTBOX)
)
COMMUNICATIONS: Final = Collection("communications", Communication, indexes=(_CREATED,))
# What a communication was before its newest version, by `<projectKey>:<id>:<version>`.
COMMUNICATION_VERSIONS: Final = Collection("communication_versions", Communication)
WORKSPACES: Final = Collection("workspaces", Workspace, indexes=(_OUTBOX,))
LOGINS: Final = Collection("logins", Login)
TOKEN_PLACES: Final = Collection("token_places", TokenPlace)
CLAIMS: Final = Collection("idempotency_claims", Claim, indexes=(Index("by_expiry", ("expires_at_ms",)),))

LISTS_ERASED: Final = Collection("authoring_erasures", ListsErased)

COLLECTIONS: Final[tuple[Collection[Any], ...]] = (
    JOURNEYS,
    VERSIONS,
    TRIGGER_CONTRACTS,
    AUDIENCES,
    COMMUNICATIONS,
    COMMUNICATION_VERSIONS,
    WORKSPACES,
    LOGINS,
    TOKEN_PLACES,
    CLAIMS,
    LISTS_ERASED,
)


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """One page of a list, and the cursor of the next."""

    items: list[T]
    cursor: str | None = None


def key_of(workspace: str, *ids: str | int) -> str:
    """The key of an object of a workspace."""
    return ":".join((workspace, *map(str, ids)))


def with_contracts(journey: Journey) -> Journey:
    """The journey with the contracts it uses where the index finds them; an archived one uses none any more."""
    if journey.state is State.ARCHIVED:
        return replace(journey, contract_of_draft=None, contract_of_latest=None)
    return replace(
        journey,
        contract_of_draft=None if journey.draft is None else journey.draft.trigger_contract_id,
        contract_of_latest=None if journey.latest is None else journey.latest.trigger_contract_id,
    )


async def found(documents: Documents, collection: Collection[T], what: str, workspace: str, name: str) -> T:
    """The document; Missing where there is none, be it another workspace's."""
    document = await documents.get(collection, key_of(workspace, name))
    if document is None:
        raise Missing(what, name)
    return document


async def listed(
    documents: Documents,
    collection: Collection[T],
    index: str,
    equals: tuple[Value, ...],
    limit: int,
    cursor: str | None,
) -> Slice[T]:
    """A page of an index, newest first; of large documents it holds fewer than asked for, and still has a next one.

    Raises Invalid for a limit outside 1 to 500 and for a foreign cursor.
    """
    require_limit(limit)
    items: list[T] = []
    size = 0
    try:
        while True:
            asked = min(limit - len(items), _STRIDE)
            page = await documents.scan(collection, index, equals, after=cursor, limit=asked, descending=True)
            fitting = 0
            for item in page.items:
                size += len(_ENCODE(item))
                if size > MAX_PAGE_BYTES and (items or fitting):
                    break
                fitting += 1
            if fitting == 0 and items:
                return Slice(items, cursor)
            if fitting < len(page.items):  # a cursor stands behind what was scanned, so that is scanned again, shorter
                page = await documents.scan(collection, index, equals, after=cursor, limit=fitting, descending=True)
                return Slice([*items, *page.items], page.cursor)
            items += page.items
            cursor = page.cursor
            if cursor is None or len(items) >= limit:
                return Slice(items, cursor)
    except BadCursor:
        raise bad_cursor() from None


def require_limit(limit: int) -> None:
    """Raise Invalid for a limit outside 1 to 500."""
    if not 1 <= limit <= MAX_LIMIT:
        fault = Fault("/limit", "out_of_range", f"A page has 1 to {MAX_LIMIT} items.")
        raise Invalid("validation_error", fault.message, [fault])


def bad_cursor() -> Invalid:
    """What a cursor gets that this list did not give."""
    fault = Fault("/cursor", "bad_cursor", "This list did not give that cursor.")
    return Invalid("validation_error", fault.message, [fault])
