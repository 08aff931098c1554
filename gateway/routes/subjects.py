"""People and the addresses that may not be written to.

Source: contract 3, Subjects and Suppressions.
"""

from typing import Any

import grpc
import msgspec
from aiohttp import web
from journeys.runtime.v1.subject_service_pb2 import (
    DeleteSuppressionRequest,
    GetSubjectRequest,
    GetSuppressionRequest,
    ListSubjectsRequest,
    ListSuppressionsRequest,
    PatchSubjectRequest,
    PutSubjectRequest,
    PutSuppressionRequest,
)
from journeys.runtime.v1.subject_service_pb2 import Subject as SubjectProto

from gateway.context import SUBJECTS, path_id, query_text, workspace
from gateway.declaration import Query, Role, route
from gateway.dto.people import Imported, Subject, Suppression
from gateway.imports import MEDIA, import_lines
from gateway.reading import body_of, optional_body_of, require_media
from gateway.replies import (
    PAGING,
    digest_of,
    if_match,
    json_reply,
    list_reply,
    nothing,
    page_of,
    require_match,
    resource_reply,
    segment,
    unmatched,
)

_PROFILE = ("attributes", "addresses", "timezone", "locale", "channelPreferences", "globalOptOut")


@route(
    "GET",
    "/api/subjects",
    role=Role.VIEWER,
    reply=list[Subject],
    query=(
        *PAGING,
        Query("email", "Those with this address.", {"type": "string"}),
        Query("q", "Those whose id or address contains this.", {"type": "string"}),
    ),
)
async def list_subjects(request: web.Request) -> web.Response:
    """List people, all of them or those who fit.

    200.
    """
    message = ListSubjectsRequest(
        workspace=workspace(request),
        email=query_text(request, "email"),
        query=query_text(request, "q"),
        page=page_of(request),
    )
    reply = await request.app[SUBJECTS].ListSubjects(message)
    return list_reply(request, [Subject.from_proto(subject) for subject in reply.subjects], reply.next_cursor)


@route("GET", "/api/subjects/{endUserId}", role=Role.VIEWER, reply=Subject)
async def get_subject(request: web.Request) -> web.Response:
    """Read a person's profile.

    200; 404.
    """
    return _subject_reply(await _subject(request))


@route("PUT", "/api/subjects/{endUserId}", role=Role.EDITOR, body="SubjectPut", reply=Subject, guarded=True)
async def put_subject(request: web.Request) -> web.Response:
    """Replace a person's profile, or make the person known.

    200, or 201 + Location; 400 validation_error; 412.
    """
    profile = _profile(await body_of(request))
    message = PutSubjectRequest(
        workspace=workspace(request),
        end_user_id=path_id(request, "endUserId"),
        profile_json=msgspec.json.encode(profile),
        etag=await if_match(request, lambda: _etag(request))
        or ("*" if "If-Match" in request.headers else None),  # "*" is something, not nothing
    )
    reply = await request.app[SUBJECTS].PutSubject(message)
    return _subject_reply(reply.subject, created=reply.created)


@route("PATCH", "/api/subjects/{endUserId}", role=Role.EDITOR, body="SubjectPatch", reply=Subject, guarded=True)
async def patch_subject(request: web.Request) -> web.Response:
    """Merge into a person's profile (RFC 7396): null removes.

    200; 400 validation_error; 404; 412.
    """
    patch = _profile(await body_of(request))
    message = PatchSubjectRequest(
        workspace=workspace(request),
        end_user_id=path_id(request, "endUserId"),
        merge_patch_json=msgspec.json.encode(patch),
        etag=await if_match(request, lambda: _etag(request)),
    )
    return _subject_reply((await request.app[SUBJECTS].PatchSubject(message)).subject)


@route("POST", "/api/subjects:import", role=Role.EDITOR, reply=Imported, media=MEDIA, body="SubjectLines")
async def import_subjects(request: web.Request) -> web.Response:
    """Take profiles line by line, NDJSON or CSV; a refused line costs itself alone.

    Lines that are endpoints of Amazon Pinpoint are put together to people: the newest EffectiveDate wins.

    200 {"received", "created", "updated", "errorCount", "errors"}; 413 for a line over 1 MiB; 415.
    """
    media = require_media(request.headers.get("Content-Type", ""), MEDIA)
    return json_reply(await import_lines(request, media))


@route("GET", "/api/suppressions", role=Role.VIEWER, reply=list[Suppression], query=PAGING)
async def list_suppressions(request: web.Request) -> web.Response:
    """List the addresses nobody may send to.

    200.
    """
    message = ListSuppressionsRequest(workspace=workspace(request), page=page_of(request))
    reply = await request.app[SUBJECTS].ListSuppressions(message)
    return list_reply(request, [Suppression.from_proto(it) for it in reply.suppressions], reply.next_cursor)


@route("GET", "/api/suppressions/{address}", role=Role.VIEWER, reply=Suppression)
async def get_suppression(request: web.Request) -> web.Response:
    """Read why an address is suppressed.

    200; 404.
    """
    return resource_reply(await _suppression(request))


@route(
    "PUT",
    "/api/suppressions/{address}",
    role=Role.EDITOR,
    body="SuppressionPut",
    body_required=False,
    reply=Suppression,
    guarded=True,
)
async def put_suppression(request: web.Request) -> web.Response:
    """Suppress an address.

    200, or 201 + Location; 412.
    """
    body = await optional_body_of(request)
    if "If-Match" in request.headers:
        await _require_suppression(request)
    message = PutSuppressionRequest(
        workspace=workspace(request), address=path_id(request, "address"), reason=body.get("reason", "manual")
    )
    reply = await request.app[SUBJECTS].PutSuppression(message)
    shown = Suppression.from_proto(reply.suppression)
    if not reply.created:
        return resource_reply(shown)
    return resource_reply(shown, status=201, location=f"/api/suppressions/{segment(shown.address)}")


@route("DELETE", "/api/suppressions/{address}", role=Role.EDITOR, status=204, guarded=True)
async def delete_suppression(request: web.Request) -> web.Response:
    """Let an address be written to again.

    204; 404; 412.
    """
    await require_match(request, lambda: _suppression_etag(request))
    message = DeleteSuppressionRequest(workspace=workspace(request), address=path_id(request, "address"))
    await request.app[SUBJECTS].DeleteSuppression(message)
    return nothing()


def _profile(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in _PROFILE if name in body}


async def _subject(request: web.Request) -> SubjectProto:
    message = GetSubjectRequest(workspace=workspace(request), end_user_id=path_id(request, "endUserId"))
    return (await request.app[SUBJECTS].GetSubject(message)).subject


async def _etag(request: web.Request) -> str:
    """Of whoever is there; of nobody no tag is current."""
    try:
        return (await _subject(request)).etag
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            raise unmatched() from None
        raise


def _subject_reply(subject: SubjectProto, *, created: bool = False) -> web.Response:
    shown = Subject.from_proto(subject)
    if not created:
        return resource_reply(shown, etag=subject.etag)
    location = f"/api/subjects/{segment(subject.end_user_id)}"
    return resource_reply(shown, etag=subject.etag, status=201, location=location)


async def _suppression(request: web.Request) -> Suppression:
    message = GetSuppressionRequest(workspace=workspace(request), address=path_id(request, "address"))
    return Suppression.from_proto((await request.app[SUBJECTS].GetSuppression(message)).suppression)


async def _require_suppression(request: web.Request) -> None:
    """412 unless there is one that If-Match fits; `*` fits any."""
    try:
        current = digest_of(await _suppression(request))
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            raise unmatched() from None
        raise

    async def found() -> str:
        return current

    await require_match(request, found)


async def _suppression_etag(request: web.Request) -> str:
    return digest_of(await _suppression(request))
