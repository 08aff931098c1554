"""Journeys from elsewhere, and as files.

Law: a bundle or an export is too large to be read twice: it travels as the bytes that came, and its reader is the
service's.
Source: contract 6; pinpoint design 6 and 7.
"""

import codecs
from typing import Final

import msgspec
from aiohttp import web
from journeys.authoring.v1.migration_service_pb2 import (
    ExportBundleRequest,
    ImportBundleRequest,
    TranslatePinpointRequest,
)

from gateway.context import MIGRATION
from gateway.declaration import Role, route
from gateway.dto.migration import ImportReport
from gateway.reading import body_of, raw_body, require_json
from gateway.replies import json_reply

MAX_BUNDLE_BODY: Final = 20 << 20
TRANSLATE_SECONDS: Final = 90.0
IMPORT_SECONDS: Final = 300.0
EXPORT_SECONDS: Final = 60.0

_INTERNAL: Final = "/api/journeys/internal"


@route(
    "POST",
    f"{_INTERNAL}/translate-pinpoint",
    role=Role.INTERNAL,
    body="TranslatePinpoint",
    reply="PinpointTranslation",
)
async def translate_pinpoint(request: web.Request) -> web.Response:
    """Translate an export of Amazon Pinpoint into a bundle; nothing is written.

    200 {"bundle", "summary"}; 400 invalid_json, validation_error; 401; 413 payload_too_large; 422 not_an_export,
    translation_incomplete (with `strict`).
    """
    require_json(request)
    message = TranslatePinpointRequest(request_json=await raw_body(request, MAX_BUNDLE_BODY))
    reply = await request.app[MIGRATION].TranslatePinpoint(message, timeout=TRANSLATE_SECONDS)
    return web.Response(body=reply.answer_json, content_type="application/json")


@route(
    "POST",
    f"{_INTERNAL}/import-bundle",
    role=Role.INTERNAL,
    body="ImportBundle",
    reply=ImportReport,
    limit=MAX_BUNDLE_BODY,
    creates=True,
)
async def import_bundle(request: web.Request) -> web.Response:
    """Make drafts of what a bundle holds, or say with `dryRun` what would be made.

    Nothing is published and no published version is touched. What a person changed since the last import is dealt with
    by `conflictPolicy`; with `atomic` nothing is written unless every object can be.

    200 {"importId", "dryRun", "counts", "results", "idMap", "blockers"}; 400 invalid_json, validation_error,
    graph_invalid; 401; 404 unknown workspace; 409 import_conflict; 413; 422 unsupported_bundle_version,
    unresolved_reference, idempotency_key_reused.
    """
    require_json(request)
    body = await raw_body(request, MAX_BUNDLE_BODY)
    message = ImportBundleRequest(workspace=_project_of(body), request_json=body)
    return json_reply(
        ImportReport.from_proto(await request.app[MIGRATION].ImportBundle(message, timeout=IMPORT_SECONDS))
    )


@route("POST", f"{_INTERNAL}/export-bundle", role=Role.INTERNAL, body="ExportBundle", reply="Bundle")
async def export_bundle(request: web.Request) -> web.Response:
    """Write the workspace's journeys with all they name as a bundle; the same workspace gives the same bytes.

    Without `journeyIds` everything that is in use, which is all but archived journeys and communications.

    200 the bundle; 400 validation_error (an unknown journey, more than 20 MB); 401; 404 unknown workspace.
    """
    body = await body_of(request)
    message = ExportBundleRequest(workspace=body["projectKey"])
    if body.get("journeyIds") is not None:
        message.journeys.ids.extend(body["journeyIds"])
        message.journeys.SetInParent()
    reply = await request.app[MIGRATION].ExportBundle(message, timeout=EXPORT_SECONDS)
    return web.Response(body=reply.bundle_json, content_type="application/json")


def _project_of(body: bytes) -> str:
    """The workspace that a body names; all else of it is the service's to read."""
    try:
        head = msgspec.json.decode(body.removeprefix(codecs.BOM_UTF8), type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""  # the service says what is wrong
    return head.projectKey


class _Head(msgspec.Struct):
    projectKey: str  # noqa: N815  # the contract's word
