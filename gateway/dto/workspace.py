"""The workspace, its members and keys, and who one is, as the contract shows them (sections 1 and 3)."""

from typing import Any, Literal, Self

import msgspec
from journeys.authoring.v1 import workspace_service_pb2 as pb

from gateway.context import Caller
from gateway.dto.shown import Dto, Time
from gateway.times import rfc3339

Role = Literal["owner", "editor", "viewer"]


def workspace(shown: pb.Workspace) -> dict[str, Any]:
    """A workspace: its key, its name and every setting, null where nothing is set."""
    settings: dict[str, Any] = msgspec.json.decode(shown.settings_json or b"{}")
    return {"projectKey": shown.project_key, "name": shown.name, **settings}


class Me(Dto, kw_only=True):
    """Who the caller is; an API key has no e-mail address."""

    user_id: str
    email: str | None
    role: Role
    project_key: str
    workspace_name: str

    @classmethod
    def from_caller(cls, caller: Caller) -> Self:
        """The caller as it sees itself."""
        return cls(
            user_id=caller.user_id,
            email=caller.email or None,
            role=caller.role.value,  # type: ignore[arg-type]  # never public or internal
            project_key=caller.workspace,
            workspace_name=caller.workspace_name,
        )


class Member(Dto, kw_only=True):
    """Someone who may sign in."""

    user_id: str
    email: str
    role: Role

    @classmethod
    def from_proto(cls, member: pb.Member) -> Self:
        """A member."""
        return cls(user_id=member.user_id, email=member.email, role=member.role)  # type: ignore[arg-type]  # one of three


class ApiKey(Dto, kw_only=True):
    """A credential for machines, without its secret."""

    id: str
    name: str
    role: Role
    created_at: Time

    @classmethod
    def from_proto(cls, key: pb.ApiKey) -> Self:
        """A key."""
        role: Any = key.role
        return cls(id=key.id, name=key.name, role=role, created_at=rfc3339(key.created_at_ms))


class NewApiKey(ApiKey, kw_only=True):
    """A key with its secret, which is shown this once."""

    secret: str


class NewWorkspace(Dto, kw_only=True):
    """A workspace with its first owner and a session for them."""

    project_key: str
    name: str
    owner_user_id: str
    session_token: str
