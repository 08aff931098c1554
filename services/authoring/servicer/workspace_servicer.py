"""Speaks WorkspaceService."""

from dataclasses import dataclass
from typing import Any

from journeys.authoring.v1 import workspace_service_pb2 as pb
from journeys.authoring.v1 import workspace_service_pb2_grpc as rpc

from services.authoring.api_keys import ApiKeys
from services.authoring.convert.journeys import page_from_proto
from services.authoring.convert.workspaces import (
    api_key_to_proto,
    identity_to_proto,
    member_to_proto,
    new_workspace_from_proto,
    workspace_to_proto,
)
from services.authoring.members import Members
from services.authoring.sessions import Sessions
from services.authoring.workspaces import Workspaces
from services.infra.grpc.caller import actor_from


@dataclass(frozen=True, slots=True)
class WorkspaceUseCases:
    """What the servicer may ask for."""

    workspaces: Workspaces
    sessions: Sessions
    members: Members
    api_keys: ApiKeys


class WorkspaceServicer(rpc.WorkspaceServiceServicer):
    """Workspaces and who may act in them."""

    def __init__(self, use_cases: WorkspaceUseCases) -> None:
        self._do = use_cases

    async def CreateWorkspace(self, request: pb.CreateWorkspaceRequest, context: Any) -> pb.CreateWorkspaceResponse:
        opened = await self._do.workspaces.create(new_workspace_from_proto(request), actor_from(context))
        return pb.CreateWorkspaceResponse(
            workspace=workspace_to_proto(opened.workspace),
            owner_user_id=opened.owner_user_id,
            session_token=opened.session_token,
        )

    async def GetWorkspace(self, request: pb.GetWorkspaceRequest, context: Any) -> pb.GetWorkspaceResponse:
        return pb.GetWorkspaceResponse(workspace=workspace_to_proto(await self._do.workspaces.get(request.workspace)))

    async def UpdateWorkspace(self, request: pb.UpdateWorkspaceRequest, context: Any) -> pb.UpdateWorkspaceResponse:
        etag = request.etag if request.HasField("etag") else None
        workspace = await self._do.workspaces.update(request.workspace, request.changes_json, actor_from(context), etag)
        return pb.UpdateWorkspaceResponse(workspace=workspace_to_proto(workspace))

    async def Authenticate(self, request: pb.AuthenticateRequest, context: Any) -> pb.AuthenticateResponse:
        if request.WhichOneof("credential") == "api_key":
            return identity_to_proto(await self._do.sessions.by_api_key(request.api_key))
        return identity_to_proto(await self._do.sessions.by_session(request.session_token))

    async def SignIn(self, request: pb.SignInRequest, context: Any) -> pb.SignInResponse:
        token, expires_at_ms = await self._do.sessions.sign_in(request.email, request.password)
        return pb.SignInResponse(session_token=token, expires_at_ms=expires_at_ms)

    async def SignOut(self, request: pb.SignOutRequest, context: Any) -> pb.SignOutResponse:
        await self._do.sessions.sign_out(request.session_token)
        return pb.SignOutResponse()

    async def ListMembers(self, request: pb.ListMembersRequest, context: Any) -> pb.ListMembersResponse:
        page = await self._do.members.page(request.workspace, *page_from_proto(request.page))
        return pb.ListMembersResponse(members=map(member_to_proto, page.items), next_cursor=page.cursor)

    async def AddMember(self, request: pb.AddMemberRequest, context: Any) -> pb.AddMemberResponse:
        member = await self._do.members.add(
            request.workspace, request.email, request.role, request.password, actor_from(context)
        )
        return pb.AddMemberResponse(member=member_to_proto(member))

    async def UpdateMember(self, request: pb.UpdateMemberRequest, context: Any) -> pb.UpdateMemberResponse:
        member = await self._do.members.change(request.workspace, request.user_id, request.role, actor_from(context))
        return pb.UpdateMemberResponse(member=member_to_proto(member))

    async def RemoveMember(self, request: pb.RemoveMemberRequest, context: Any) -> pb.RemoveMemberResponse:
        await self._do.members.remove(request.workspace, request.user_id, actor_from(context))
        return pb.RemoveMemberResponse()

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Any) -> pb.ListApiKeysResponse:
        page = await self._do.api_keys.page(request.workspace, *page_from_proto(request.page))
        return pb.ListApiKeysResponse(api_keys=map(api_key_to_proto, page.items), next_cursor=page.cursor)

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Any) -> pb.CreateApiKeyResponse:
        key, secret = await self._do.api_keys.create(request.workspace, request.name, request.role, actor_from(context))
        return pb.CreateApiKeyResponse(api_key=api_key_to_proto(key), secret=secret)

    async def DeleteApiKey(self, request: pb.DeleteApiKeyRequest, context: Any) -> pb.DeleteApiKeyResponse:
        await self._do.api_keys.delete(request.workspace, request.id, actor_from(context))
        return pb.DeleteApiKeyResponse()
