"""Speaks SubjectService and ProfileService: proto in, proto out.

Law: nothing is decided here. Use cases raise domain errors; the server's interceptor makes statuses of them.
"""

from typing import Any

import grpc
from journeys.runtime.v1 import profile_service_pb2 as profile_pb
from journeys.runtime.v1 import profile_service_pb2_grpc as profile_rpc
from journeys.runtime.v1 import subject_service_pb2 as pb
from journeys.runtime.v1 import subject_service_pb2_grpc as rpc
from journeys.type.v1 import page_pb2

from services.infra.grpc.caller import actor_from
from services.runtime.acts import By
from services.runtime.convert import (
    imported_to_proto,
    page_from_proto,
    subject_to_proto,
    suppression_to_proto,
)
from services.runtime.preferences import Preferences, Shown
from services.runtime.profiles import profile_faults
from services.runtime.subjects import Subjects
from services.runtime.suppressions import Suppressions

SHOWN = 100  # contract 1, limits

Context = grpc.aio.ServicerContext[Any, Any]


class SubjectServicer(rpc.SubjectServiceServicer):
    """Serves people, suppressed addresses, and what links in messages lead to."""

    def __init__(self, subjects: Subjects, suppressions: Suppressions, preferences: Preferences) -> None:
        self._subjects = subjects
        self._suppressions = suppressions
        self._preferences = preferences

    async def PutSubject(self, request: pb.PutSubjectRequest, context: Context) -> pb.PutSubjectResponse:
        etag = request.etag if request.HasField("etag") else None
        document, created = await self._subjects.put(
            request.workspace, request.end_user_id, request.profile_json, etag, By(actor_from(context))
        )
        return pb.PutSubjectResponse(subject=subject_to_proto(document), created=created)

    async def GetSubject(self, request: pb.GetSubjectRequest, context: Context) -> pb.GetSubjectResponse:
        document = await self._subjects.get(request.workspace, request.end_user_id)
        return pb.GetSubjectResponse(subject=subject_to_proto(document))

    async def PatchSubject(self, request: pb.PatchSubjectRequest, context: Context) -> pb.PatchSubjectResponse:
        etag = request.etag if request.HasField("etag") else None
        document = await self._subjects.patch(
            request.workspace, request.end_user_id, request.merge_patch_json, etag, By(actor_from(context))
        )
        return pb.PatchSubjectResponse(subject=subject_to_proto(document))

    async def ListSubjects(self, request: pb.ListSubjectsRequest, context: Context) -> pb.ListSubjectsResponse:
        page = await self._subjects.list(
            request.workspace,
            page_from_proto(request.page, SHOWN),
            email=request.email if request.HasField("email") else None,
            query=request.query if request.HasField("query") else None,
        )
        subjects = [subject_to_proto(document) for document in page.items]
        return pb.ListSubjectsResponse(subjects=subjects, next_cursor=page.cursor)

    async def ImportSubjects(self, request: pb.ImportSubjectsRequest, context: Context) -> pb.ImportSubjectsResponse:
        by = By(actor_from(context), "import")
        return imported_to_proto(await self._subjects.import_batch(request.workspace, request.profiles_json, by))

    async def PutSuppression(self, request: pb.PutSuppressionRequest, context: Context) -> pb.PutSuppressionResponse:
        document, created = await self._suppressions.put(
            request.workspace, request.address, request.reason, By(actor_from(context))
        )
        return pb.PutSuppressionResponse(suppression=suppression_to_proto(document), created=created)

    async def GetSuppression(self, request: pb.GetSuppressionRequest, context: Context) -> pb.GetSuppressionResponse:
        document = await self._suppressions.get(request.workspace, request.address)
        return pb.GetSuppressionResponse(suppression=suppression_to_proto(document))

    async def DeleteSuppression(
        self, request: pb.DeleteSuppressionRequest, context: Context
    ) -> pb.DeleteSuppressionResponse:
        await self._suppressions.delete(request.workspace, request.address, By(actor_from(context)))
        return pb.DeleteSuppressionResponse()

    async def ListSuppressions(
        self, request: pb.ListSuppressionsRequest, context: Context
    ) -> pb.ListSuppressionsResponse:
        page = await self._suppressions.list(request.workspace, page_from_proto(request.page, SHOWN))
        suppressions = [suppression_to_proto(document) for document in page.items]
        return pb.ListSuppressionsResponse(suppressions=suppressions, next_cursor=page.cursor)

    async def GetPreferences(self, request: pb.GetPreferencesRequest, context: Context) -> pb.GetPreferencesResponse:
        return pb.GetPreferencesResponse(preferences=_to_proto(await self._preferences.show(request.token)))

    async def ChangePreferences(
        self, request: pb.ChangePreferencesRequest, context: Context
    ) -> pb.ChangePreferencesResponse:
        channels = {one.channel: one.opted_in for one in request.channels}
        opted_out = request.global_opt_out if request.HasField("global_opt_out") else None
        shown = await self._preferences.change(request.token, channels, opted_out)
        return pb.ChangePreferencesResponse(preferences=_to_proto(shown))

    async def Unsubscribe(self, request: pb.UnsubscribeRequest, context: Context) -> pb.UnsubscribeResponse:
        return pb.UnsubscribeResponse(preferences=_to_proto(await self._preferences.unsubscribe(request.token)))


class ProfileServicer(profile_rpc.ProfileServiceServicer):
    """What is wrong with profiles beside their shape."""

    async def CheckProfile(
        self, request: profile_pb.CheckProfileRequest, context: Context
    ) -> profile_pb.CheckProfileResponse:
        found = profile_faults(request.profile_json)
        return profile_pb.CheckProfileResponse(
            faults=[page_pb2.Fault(path=one.path, code=one.code, message=one.message) for one in found]
        )


def _to_proto(shown: Shown) -> pb.Preferences:
    channels = [pb.ChannelPreference(channel=name, opted_in=opted_in) for name, opted_in in shown.channels.items()]
    return pb.Preferences(
        workspace_name=shown.workspace_name,
        channels=channels,
        global_opt_out=shown.global_opt_out,
        channel=shown.channel,
    )
