"""Speaks MigrationService."""

from dataclasses import dataclass
from typing import Any

from journeys.authoring.v1 import migration_service_pb2 as pb
from journeys.authoring.v1 import migration_service_pb2_grpc as rpc

from services.authoring.convert.imports import report_to_proto
from services.authoring.importing.export_bundle import ExportBundle
from services.authoring.importing.import_bundle import ImportBundle
from services.authoring.translate_pinpoint import TranslatePinpoint
from services.infra.grpc.caller import actor_from


@dataclass(frozen=True, slots=True)
class MigrationUseCases:
    """What the servicer may ask for."""

    translate_pinpoint: TranslatePinpoint
    import_bundle: ImportBundle
    export_bundle: ExportBundle


class MigrationServicer(rpc.MigrationServiceServicer):
    """Journeys from elsewhere, and as files."""

    def __init__(self, use_cases: MigrationUseCases) -> None:
        self._do = use_cases

    async def TranslatePinpoint(
        self, request: pb.TranslatePinpointRequest, context: Any
    ) -> pb.TranslatePinpointResponse:
        return pb.TranslatePinpointResponse(answer_json=await self._do.translate_pinpoint(request.request_json))

    async def ImportBundle(self, request: pb.ImportBundleRequest, context: Any) -> pb.ImportBundleResponse:
        report = await self._do.import_bundle(request.workspace, request.request_json, actor_from(context))
        return report_to_proto(report)

    async def ExportBundle(self, request: pb.ExportBundleRequest, context: Any) -> pb.ExportBundleResponse:
        journeys = list(request.journeys.ids) if request.HasField("journeys") else None
        return pb.ExportBundleResponse(bundle_json=await self._do.export_bundle(request.workspace, journeys))
