"""Speaks AuthoringService."""

from dataclasses import dataclass
from typing import Any

from journeys.authoring.v1 import authoring_service_pb2 as pb
from journeys.authoring.v1 import authoring_service_pb2_grpc as rpc

from services.authoring.audiences import Audiences
from services.authoring.communications import Communications
from services.authoring.convert.journeys import (
    arms_from_proto,
    changes_from_proto,
    journey_to_proto,
    page_from_proto,
    version_to_proto,
)
from services.authoring.convert.library import (
    answer_from_proto,
    answer_to_proto,
    audience_changes_from_proto,
    audience_to_proto,
    communication_changes_from_proto,
    communication_to_proto,
    contract_changes_from_proto,
    contract_to_proto,
    new_audience_from_proto,
    new_communication_from_proto,
    new_contract_from_proto,
)
from services.authoring.create_journey import CreateJourney
from services.authoring.edit_journey import EditJourney
from services.authoring.idempotency import Idempotency
from services.authoring.publish import Publish
from services.authoring.read_journeys import Journeys
from services.authoring.steer import Steer
from services.authoring.trigger_contracts import TriggerContracts
from services.domain.journey.lifecycle import Verb
from services.infra.grpc.caller import actor_from, request_key_from


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the servicer may ask for."""

    journeys: Journeys
    create: CreateJourney
    edit: EditJourney
    publish: Publish
    steer: Steer
    contracts: TriggerContracts
    audiences: Audiences
    communications: Communications
    idempotency: Idempotency


class AuthoringServicer(rpc.AuthoringServiceServicer):
    """Journeys, trigger contracts, audiences, communications, idempotency keys."""

    def __init__(self, use_cases: UseCases) -> None:
        self._do = use_cases

    async def ListJourneys(self, request: pb.ListJourneysRequest, context: Any) -> pb.ListJourneysResponse:
        page = await self._do.journeys.page(request.workspace, *page_from_proto(request.page))
        return pb.ListJourneysResponse(journeys=map(journey_to_proto, page.items), next_cursor=page.cursor)

    async def GetJourney(self, request: pb.GetJourneyRequest, context: Any) -> pb.GetJourneyResponse:
        view = await self._do.journeys.get(request.workspace, request.id)
        return pb.GetJourneyResponse(journey=journey_to_proto(view))

    async def CreateJourney(self, request: pb.CreateJourneyRequest, context: Any) -> pb.CreateJourneyResponse:
        changes = changes_from_proto(request.changes)
        journey_id = request.id if request.HasField("id") else None
        made_by = request_key_from(context)
        view = await self._do.create(request.workspace, changes, actor_from(context), journey_id, made_by=made_by)
        return pb.CreateJourneyResponse(journey=journey_to_proto(view))

    async def UpdateJourney(self, request: pb.UpdateJourneyRequest, context: Any) -> pb.UpdateJourneyResponse:
        view = await self._do.edit(
            request.workspace,
            request.id,
            changes_from_proto(request.changes),
            actor_from(context),
            updated_at_ms=request.updated_at_ms if request.HasField("updated_at_ms") else None,
            etag=_etag(request),
        )
        return pb.UpdateJourneyResponse(journey=journey_to_proto(view))

    async def PublishJourney(self, request: pb.PublishJourneyRequest, context: Any) -> pb.PublishJourneyResponse:
        view = await self._do.publish(
            request.workspace,
            request.id,
            actor_from(context),
            reset_arms=arms_from_proto(request),
            etag=_etag(request),
        )
        return pb.PublishJourneyResponse(journey=journey_to_proto(view), version=view.journey.latest_version)

    async def PauseJourney(self, request: pb.PauseJourneyRequest, context: Any) -> pb.PauseJourneyResponse:
        view = await self._do.steer(request.workspace, request.id, Verb.PAUSE, actor_from(context))
        return pb.PauseJourneyResponse(journey=journey_to_proto(view))

    async def ResumeJourney(self, request: pb.ResumeJourneyRequest, context: Any) -> pb.ResumeJourneyResponse:
        view = await self._do.steer(request.workspace, request.id, Verb.RESUME, actor_from(context))
        return pb.ResumeJourneyResponse(journey=journey_to_proto(view))

    async def ArchiveJourney(self, request: pb.ArchiveJourneyRequest, context: Any) -> pb.ArchiveJourneyResponse:
        view = await self._do.steer(request.workspace, request.id, Verb.ARCHIVE, actor_from(context))
        return pb.ArchiveJourneyResponse(journey=journey_to_proto(view))

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Any) -> pb.ListVersionsResponse:
        limit, cursor = page_from_proto(request.page)
        page = await self._do.journeys.versions(request.workspace, request.journey_id, limit, cursor)
        return pb.ListVersionsResponse(versions=map(version_to_proto, page.items), next_cursor=page.cursor)

    async def GetVersion(self, request: pb.GetVersionRequest, context: Any) -> pb.GetVersionResponse:
        version = await self._do.journeys.version(request.workspace, request.journey_id, request.version)
        return pb.GetVersionResponse(version=version_to_proto(version))

    async def ListTriggerContracts(
        self, request: pb.ListTriggerContractsRequest, context: Any
    ) -> pb.ListTriggerContractsResponse:
        page = await self._do.contracts.page(request.workspace, *page_from_proto(request.page))
        contracts = map(contract_to_proto, page.items)
        return pb.ListTriggerContractsResponse(trigger_contracts=contracts, next_cursor=page.cursor)

    async def GetTriggerContract(
        self, request: pb.GetTriggerContractRequest, context: Any
    ) -> pb.GetTriggerContractResponse:
        contract = await self._do.contracts.get(request.workspace, request.id)
        return pb.GetTriggerContractResponse(trigger_contract=contract_to_proto(contract))

    async def CreateTriggerContract(
        self, request: pb.CreateTriggerContractRequest, context: Any
    ) -> pb.CreateTriggerContractResponse:
        contract_id = request.id if request.HasField("id") else None
        contract = await self._do.contracts.create(
            request.workspace, new_contract_from_proto(request), contract_id, request_key_from(context)
        )
        return pb.CreateTriggerContractResponse(trigger_contract=contract_to_proto(contract))

    async def UpdateTriggerContract(
        self, request: pb.UpdateTriggerContractRequest, context: Any
    ) -> pb.UpdateTriggerContractResponse:
        changes = contract_changes_from_proto(request)
        contract = await self._do.contracts.update(request.workspace, request.id, changes, _etag(request))
        return pb.UpdateTriggerContractResponse(trigger_contract=contract_to_proto(contract))

    async def DeleteTriggerContract(
        self, request: pb.DeleteTriggerContractRequest, context: Any
    ) -> pb.DeleteTriggerContractResponse:
        await self._do.contracts.delete(request.workspace, request.id)
        return pb.DeleteTriggerContractResponse()

    async def ListAudiences(self, request: pb.ListAudiencesRequest, context: Any) -> pb.ListAudiencesResponse:
        page = await self._do.audiences.page(request.workspace, *page_from_proto(request.page))
        return pb.ListAudiencesResponse(audiences=map(audience_to_proto, page.items), next_cursor=page.cursor)

    async def GetAudience(self, request: pb.GetAudienceRequest, context: Any) -> pb.GetAudienceResponse:
        audience = await self._do.audiences.get(request.workspace, request.id)
        return pb.GetAudienceResponse(audience=audience_to_proto(audience))

    async def CreateAudience(self, request: pb.CreateAudienceRequest, context: Any) -> pb.CreateAudienceResponse:
        audience_id = request.id if request.HasField("id") else None
        audience = await self._do.audiences.create(
            request.workspace, new_audience_from_proto(request), audience_id, request_key_from(context)
        )
        return pb.CreateAudienceResponse(audience=audience_to_proto(audience))

    async def UpdateAudience(self, request: pb.UpdateAudienceRequest, context: Any) -> pb.UpdateAudienceResponse:
        changes = audience_changes_from_proto(request)
        audience = await self._do.audiences.update(request.workspace, request.id, changes, _etag(request))
        return pb.UpdateAudienceResponse(audience=audience_to_proto(audience))

    async def DeleteAudience(self, request: pb.DeleteAudienceRequest, context: Any) -> pb.DeleteAudienceResponse:
        await self._do.audiences.delete(request.workspace, request.id)
        return pb.DeleteAudienceResponse()

    async def ListCommunications(
        self, request: pb.ListCommunicationsRequest, context: Any
    ) -> pb.ListCommunicationsResponse:
        page = await self._do.communications.page(request.workspace, *page_from_proto(request.page))
        communications = map(communication_to_proto, page.items)
        return pb.ListCommunicationsResponse(communications=communications, next_cursor=page.cursor)

    async def GetCommunication(self, request: pb.GetCommunicationRequest, context: Any) -> pb.GetCommunicationResponse:
        communication = await self._do.communications.get(request.workspace, request.id)
        return pb.GetCommunicationResponse(communication=communication_to_proto(communication))

    async def CreateCommunication(
        self, request: pb.CreateCommunicationRequest, context: Any
    ) -> pb.CreateCommunicationResponse:
        communication = await self._do.communications.create(
            request.workspace,
            new_communication_from_proto(request),
            request.id if request.HasField("id") else None,
            request_key_from(context),
        )
        return pb.CreateCommunicationResponse(communication=communication_to_proto(communication))

    async def UpdateCommunication(
        self, request: pb.UpdateCommunicationRequest, context: Any
    ) -> pb.UpdateCommunicationResponse:
        changes = communication_changes_from_proto(request)
        communication = await self._do.communications.update(request.workspace, request.id, changes, _etag(request))
        return pb.UpdateCommunicationResponse(communication=communication_to_proto(communication))

    async def ArchiveCommunication(
        self, request: pb.ArchiveCommunicationRequest, context: Any
    ) -> pb.ArchiveCommunicationResponse:
        communication = await self._do.communications.archive(request.workspace, request.id)
        return pb.ArchiveCommunicationResponse(communication=communication_to_proto(communication))

    async def ClaimIdempotencyKey(
        self, request: pb.ClaimIdempotencyKeyRequest, context: Any
    ) -> pb.ClaimIdempotencyKeyResponse:
        answer = await self._do.idempotency.claim(request.workspace, request.key, request.fingerprint)
        if answer is not None:
            return pb.ClaimIdempotencyKeyResponse(answer=answer_to_proto(answer))
        since = await self._do.idempotency.since(request.workspace, request.key)
        return pb.ClaimIdempotencyKeyResponse(since_ms=since)

    async def SettleIdempotencyKey(
        self, request: pb.SettleIdempotencyKeyRequest, context: Any
    ) -> pb.SettleIdempotencyKeyResponse:
        await self._do.idempotency.settle(request.workspace, request.key, answer_from_proto(request))
        return pb.SettleIdempotencyKeyResponse()


def _etag(request: Any) -> str | None:
    return request.etag if request.HasField("etag") else None
