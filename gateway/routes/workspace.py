"""The workspace, its members and its API keys.

Source: contract 1 (Who may call) and 3 (Workspace).
"""

import msgspec
from aiohttp import web
from journeys.authoring.v1.workspace_service_pb2 import (
    AddMemberRequest,
    CreateApiKeyRequest,
    DeleteApiKeyRequest,
    GetWorkspaceRequest,
    ListApiKeysRequest,
    ListMembersRequest,
    RemoveMemberRequest,
    UpdateMemberRequest,
    UpdateWorkspaceRequest,
)
from journeys.authoring.v1.workspace_service_pb2 import Workspace as WorkspaceProto
from journeys.type.v1.page_pb2 import Page

from gateway.context import AUTHENTICATOR, OPTIONS, WORKSPACES, path_id
from gateway.context import workspace as workspace_of
from gateway.declaration import Role, route
from gateway.dto.running import AuditEntry
from gateway.dto.workspace import ApiKey, Member, NewApiKey, workspace
from gateway.errors import not_found
from gateway.reading import body_of
from gateway.replies import (
    MAX_LIMIT,
    PAGING,
    digest_of,
    if_match,
    list_reply,
    nothing,
    page_of,
    require_match,
    resource_reply,
    segment,
)
from gateway.routes.executions import AUDIT_FILTERS, audit_page
from gateway.schemas.workspace import SETTINGS


@route("GET", "/api/workspace", role=Role.VIEWER, reply="Workspace")
async def get_workspace(request: web.Request) -> web.Response:
    """Read the workspace's settings; publicUrl is the server's own where none is set.

    200.
    """
    return _workspace_reply(request, await _workspace(request))


@route("PATCH", "/api/workspace", role=Role.OWNER, body="WorkspaceUpdate", reply="Workspace", guarded=True)
async def update_workspace(request: web.Request) -> web.Response:
    """Change settings; null gives one its default back.

    200; 400 validation_error; 412.
    """
    body = await body_of(request)
    changes = {name: value for name, value in body.items() if name == "name" or name in SETTINGS}
    if changes.get("publicUrl") == _own_url(request):
        changes["publicUrl"] = None  # who sends back what was read sets nothing: the server may move
    message = UpdateWorkspaceRequest(
        workspace=workspace_of(request),
        changes_json=msgspec.json.encode(changes),
        etag=await if_match(request, lambda: _etag(request)),
    )
    shown = (await request.app[WORKSPACES].UpdateWorkspace(message)).workspace
    request.app[AUTHENTICATOR].forget()  # /api/me shows the workspace's name
    return _workspace_reply(request, shown)


@route("GET", "/api/workspace/members", role=Role.OWNER, reply=list[Member], query=PAGING)
async def list_members(request: web.Request) -> web.Response:
    """List who may sign in.

    200.
    """
    message = ListMembersRequest(workspace=workspace_of(request), page=page_of(request))
    reply = await request.app[WORKSPACES].ListMembers(message)
    return list_reply(request, [Member.from_proto(member) for member in reply.members], reply.next_cursor)


@route("POST", "/api/workspace/members", role=Role.OWNER, body="MemberAdd", status=201, reply=Member, creates=True)
async def add_member(request: web.Request) -> web.Response:
    """Add someone who may sign in.

    201 {"userId", "email", "role"}; 400 validation_error; 409 id_taken; 422 idempotency_key_reused.
    """
    body = await body_of(request)
    message = AddMemberRequest(
        workspace=workspace_of(request), email=body["email"], role=body["role"], password=body["password"]
    )
    member = (await request.app[WORKSPACES].AddMember(message)).member
    request.app[AUTHENTICATOR].forget()
    location = f"/api/workspace/members/{segment(member.user_id)}"
    return resource_reply(Member.from_proto(member), status=201, location=location)


@route("PATCH", "/api/workspace/members/{userId}", role=Role.OWNER, body="MemberUpdate", reply=Member, guarded=True)
async def update_member(request: web.Request) -> web.Response:
    """Give a member another role; it acts at once.

    200; 404; 409 last_owner; 412.
    """
    body = await body_of(request)
    await require_match(request, lambda: _member_etag(request))
    message = UpdateMemberRequest(
        workspace=workspace_of(request), user_id=path_id(request, "userId"), role=body["role"]
    )
    try:
        member = (await request.app[WORKSPACES].UpdateMember(message)).member
    finally:
        request.app[AUTHENTICATOR].forget()
    return resource_reply(Member.from_proto(member))


@route("DELETE", "/api/workspace/members/{userId}", role=Role.OWNER, status=204, guarded=True)
async def remove_member(request: web.Request) -> web.Response:
    """Remove a member, whose sessions end at once.

    204; 404; 409 last_owner; 412.
    """
    await require_match(request, lambda: _member_etag(request))
    message = RemoveMemberRequest(workspace=workspace_of(request), user_id=path_id(request, "userId"))
    try:
        await request.app[WORKSPACES].RemoveMember(message)
    finally:
        request.app[AUTHENTICATOR].forget()
    return nothing()


@route("GET", "/api/workspace/api-keys", role=Role.OWNER, reply=list[ApiKey], query=PAGING)
async def list_api_keys(request: web.Request) -> web.Response:
    """List API keys, without their secrets.

    200.
    """
    message = ListApiKeysRequest(workspace=workspace_of(request), page=page_of(request))
    reply = await request.app[WORKSPACES].ListApiKeys(message)
    return list_reply(request, [ApiKey.from_proto(key) for key in reply.api_keys], reply.next_cursor)


@route(
    "POST",
    "/api/workspace/api-keys",
    role=Role.OWNER,
    body="ApiKeyCreate",
    status=201,
    reply=NewApiKey,
    creates=True,
)
async def create_api_key(request: web.Request) -> web.Response:
    """Make an API key; its secret is shown this once.

    201 {"id", "name", "role", "secret", "createdAt"}; 400 validation_error; 422 idempotency_key_reused.
    """
    body = await body_of(request)
    message = CreateApiKeyRequest(workspace=workspace_of(request), name=body["name"], role=body.get("role", "editor"))
    reply = await request.app[WORKSPACES].CreateApiKey(message)
    key = ApiKey.from_proto(reply.api_key)
    shown = NewApiKey(id=key.id, name=key.name, role=key.role, created_at=key.created_at, secret=reply.secret)
    response = resource_reply(shown, status=201, location=f"/api/workspace/api-keys/{segment(key.id)}")
    response.headers["Cache-Control"] = "no-store"
    return response


@route("DELETE", "/api/workspace/api-keys/{id}", role=Role.OWNER, status=204)
async def delete_api_key(request: web.Request) -> web.Response:
    """Delete an API key, which stops working at once.

    204; 404.
    """
    message = DeleteApiKeyRequest(workspace=workspace_of(request), id=path_id(request))
    try:
        await request.app[WORKSPACES].DeleteApiKey(message)
    finally:
        request.app[AUTHENTICATOR].forget()
    return nothing()


@route("GET", "/api/workspace/audit", role=Role.VIEWER, reply=list[AuditEntry], query=AUDIT_FILTERS)
async def workspace_audit(request: web.Request) -> web.Response:
    """The workspace's timeline: settings, members, keys, preferences, suppressions; newest first, 200 a page.

    200.
    """
    reply = await audit_page(request, "")
    return list_reply(request, [AuditEntry.from_proto(entry) for entry in reply.entries], reply.next_cursor)


async def _member_etag(request: web.Request) -> str:
    """The tag of the member the path names. 404."""
    page = Page(limit=MAX_LIMIT)
    while True:
        reply = await request.app[WORKSPACES].ListMembers(
            ListMembersRequest(workspace=workspace_of(request), page=page)
        )
        for member in reply.members:
            if member.user_id == path_id(request, "userId"):
                return digest_of(Member.from_proto(member))
        if not reply.next_cursor:
            raise not_found("There is no such member.")
        page = Page(limit=MAX_LIMIT, cursor=reply.next_cursor)


async def _workspace(request: web.Request) -> WorkspaceProto:
    message = GetWorkspaceRequest(workspace=workspace_of(request))
    return (await request.app[WORKSPACES].GetWorkspace(message)).workspace


async def _etag(request: web.Request) -> str:
    return (await _workspace(request)).etag


def _workspace_reply(request: web.Request, shown: WorkspaceProto) -> web.Response:
    found = workspace(shown)
    if found.get("publicUrl") is None:  # what links in mails begin with all the same
        found["publicUrl"] = _own_url(request)
    return resource_reply(found, etag=shown.etag)


def _own_url(request: web.Request) -> str:
    return request.app[OPTIONS].public_url or f"{request.scheme}://{request.host}"
