"""How people, and addresses nobody may write to, are stored.

Law: names of collections, fields and indexes are stored: choose once. Times are milliseconds, UTC. The domain
sees a `Profile`; nothing but the use cases beside this file writes these documents.
Source: runtime design 2.2; contract 3, Subjects and Suppressions.
"""

from typing import Any

import msgspec

from services.domain.execution.eligibility import normal
from services.domain.execution.triggers import Profile
from services.infra.documents.port import Collection, Index
from services.runtime.acts import Act

EFFECTS_KEPT = 32  # of one person: more are never in doubt at once


class SubjectDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A person's profile. `known`: somebody wrote it; False where an event alone made it, empty.

    `applied_effects` are the latest intents that set attributes here: met again, they change nothing. `acts` is what
    the last write did to preferences; the next writer makes sure that it was told.
    """

    key: str  # <workspace>:<endUserId>
    workspace: str
    end_user_id: str
    revision: int = 1
    attributes: dict[str, Any] = {}
    email: str | None = None
    email_lower: str | None = None
    mobile_push: tuple[str, ...] = ()
    timezone: str | None = None
    locale: str | None = None
    preferences: dict[str, bool] = {}
    global_opt_out: bool = False
    applied_effects: tuple[str, ...] = ()
    known: bool = True
    reinstated_at: int | None = None  # forgotten, and known again since: earlier events are not theirs
    created_at: int
    updated_at: int
    acts: tuple[Act, ...] = ()

    @property
    def etag(self) -> str:
        """Changes with every write, and is another one for a person who was forgotten and came back."""
        return f"{self.revision}-{self.created_at}"


SUBJECTS: Collection[SubjectDocument] = Collection(
    "subjects",
    SubjectDocument,
    indexes=(Index("by_id", ("workspace", "end_user_id")), Index("by_email", ("workspace", "email_lower"))),
)


class SuppressionDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An address nobody may write to, as it was given; its key holds it as it is compared."""

    key: str  # <workspace>:<normal address>
    workspace: str
    address: str
    revision: int = 1
    reason: str = ""
    created_at: int
    acts: tuple[Act, ...] = ()  # of the last write, as a profile's


SUPPRESSIONS: Collection[SuppressionDocument] = Collection(
    "suppressions", SuppressionDocument, indexes=(Index("by_address", ("workspace", "address")),)
)

SUBJECT_COLLECTIONS = (SUBJECTS, SUPPRESSIONS)


def subject_document_key(workspace: str, end_user_id: str) -> str:
    """The key of a person's profile."""
    return f"{workspace}:{end_user_id}"


def suppression_key(workspace: str, address: str) -> str:
    """The key under which an address is suppressed: e-mail addresses without case."""
    return f"{workspace}:{normal(address)}"


def empty_subject(workspace: str, end_user_id: str, now: int) -> SubjectDocument:
    """The profile of a person of whom only an event is known."""
    return SubjectDocument(
        key=subject_document_key(workspace, end_user_id),
        workspace=workspace,
        end_user_id=end_user_id,
        known=False,
        created_at=now,
        updated_at=now,
    )


def profile_of(document: SubjectDocument | None, end_user_id: str) -> Profile:
    """The person as decisions see them; an empty profile where none is stored."""
    if document is None:
        return Profile(end_user_id)
    return Profile(
        end_user_id=end_user_id,
        attributes=document.attributes,
        email=document.email,
        mobile_push=document.mobile_push,
        timezone=document.timezone,
        locale=document.locale,
        preferences=document.preferences,
        global_opt_out=document.global_opt_out,
    )
