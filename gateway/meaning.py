"""What a body means, asked of the service it is for where its shape is wrong: a client learns every fault at once.

Law: only a body that is refused anyway is looked at here; whether it is, this room does not decide.
Source: contract 1, Errors ("all faults at once").
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc
import msgspec
import structlog
from aiohttp import web
from journeys.authoring.v1.body_service_pb2 import CheckBodyRequest
from journeys.runtime.v1.profile_service_pb2 import CheckProfileRequest

from gateway.context import BODIES, PROFILES
from gateway.pointers import Fault

READ_BY_AUTHORING: Final = frozenset(
    {
        "JourneyCreate",
        "JourneyUpdate",
        "TriggerContractCreate",
        "TriggerContractUpdate",
        "AudienceCreate",
        "AudienceUpdate",
        "CommunicationCreate",
        "CommunicationUpdate",
        "WorkspaceUpdate",
        "WorkspaceCreate",
        "MemberAdd",
        "ApiKeyCreate",
    }
)
READ_BY_THE_RUNTIME: Final = frozenset({"SubjectPut", "SubjectPatch"})

_log = structlog.get_logger(__name__)


async def all_faults(request: web.Request, component: str, body: Any, found: Sequence[Fault]) -> list[Fault]:
    """The faults found in a body's shape, and after them those of what it means; each place is told of once."""
    if not isinstance(body, Mapping):
        return list(found)
    told = {fault.path for fault in found}
    return [*found, *(fault for fault in await _meant(request, component, body) if fault.path not in told)]


async def _meant(request: web.Request, component: str, body: Mapping[str, Any]) -> list[Fault]:
    try:
        if component in READ_BY_AUTHORING:
            asked = CheckBodyRequest(kind=component, body_json=msgspec.json.encode(body))
            faults = (await request.app[BODIES].CheckBody(asked)).faults
        elif component in READ_BY_THE_RUNTIME:
            profile = CheckProfileRequest(profile_json=msgspec.json.encode(body))
            faults = (await request.app[PROFILES].CheckProfile(profile)).faults
        else:
            return []
    except grpc.aio.AioRpcError as error:
        # The body is refused all the same, with what is known.
        _log.warning("meaning.unasked", component=component, status=error.code().name)
        return []
    return [Fault(one.path, one.code, one.message) for one in faults]
