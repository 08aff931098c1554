"""Workspaces, members, API keys, identities."""

from journeys.authoring.v1 import workspace_service_pb2 as pb

from services.authoring.json_text import canonical
from services.authoring.names import etag_of
from services.authoring.repositories import ApiKey, Member, Workspace
from services.authoring.sessions import Identity
from services.authoring.workspace_settings import settings_of
from services.authoring.workspaces import NewWorkspace


def new_workspace_from_proto(request: pb.CreateWorkspaceRequest) -> NewWorkspace:
    """What makes a workspace."""
    return NewWorkspace(
        name=request.name,
        owner_email=request.owner_email,
        project_key=request.project_key if request.HasField("project_key") else None,
        owner_password=request.owner_password if request.HasField("owner_password") else None,
        session_token=request.session_token if request.HasField("session_token") else None,
    )


def workspace_to_proto(workspace: Workspace) -> pb.Workspace:
    """A workspace with all its settings."""
    return pb.Workspace(
        project_key=workspace.key,
        name=workspace.name,
        settings_json=canonical(settings_of(workspace)),
        etag=etag_of(workspace.changes),
    )


def member_to_proto(member: Member) -> pb.Member:
    """A member."""
    return pb.Member(user_id=member.user_id, email=member.email, role=member.role)


def api_key_to_proto(key: ApiKey) -> pb.ApiKey:
    """An API key, without its secret."""
    return pb.ApiKey(id=key.id, name=key.name, role=key.role, created_at_ms=key.created_at_ms)


def identity_to_proto(identity: Identity) -> pb.AuthenticateResponse:
    """Who is calling."""
    return pb.AuthenticateResponse(
        workspace=identity.workspace,
        workspace_name=identity.workspace_name,
        user_id=identity.user_id,
        email=identity.email,
        role=identity.role,
    )
