"""Subjects, suppressions and what an import did, as the contract shows them (section 3)."""

from typing import Self

from journeys.runtime.v1 import subject_service_pb2 as pb

from gateway.dto.shown import Dto, JsonObject, Time, json_object, optional
from gateway.times import rfc3339


class Addresses(Dto, kw_only=True, rename=None):
    """Where a subject can be reached."""

    email: str | None
    mobile_push: list[str]


class Subject(Dto, kw_only=True):
    """A person: profile, addresses, preferences."""

    end_user_id: str
    attributes: JsonObject
    addresses: Addresses
    timezone: str | None
    locale: str | None
    channel_preferences: dict[str, bool]
    global_opt_out: bool

    @classmethod
    def from_proto(cls, subject: pb.Subject) -> Self:
        """A subject."""
        return cls(
            end_user_id=subject.end_user_id,
            attributes=json_object(subject.attributes_json),
            addresses=Addresses(email=optional(subject, "email"), mobile_push=list(subject.mobile_push)),
            timezone=optional(subject, "timezone"),
            locale=optional(subject, "locale"),
            channel_preferences=dict(sorted(subject.channel_preferences.items())),
            global_opt_out=subject.global_opt_out,
        )


class Suppression(Dto, kw_only=True):
    """An address nobody may send to."""

    address: str
    reason: str
    created_at: Time

    @classmethod
    def from_proto(cls, suppression: pb.Suppression) -> Self:
        """A suppression."""
        return cls(
            address=suppression.address,
            reason=suppression.reason,
            created_at=rfc3339(suppression.created_at_ms),
        )


class LineFault(Dto, kw_only=True):
    """Why a line was refused."""

    line: int
    code: str
    message: str


class Imported(Dto, kw_only=True):
    """What an import did: `received` lines, of which `errorCount` were refused; the first 1,000 of those are listed."""

    received: int
    created: int
    updated: int
    error_count: int
    errors: list[LineFault]
