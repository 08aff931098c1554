"""Reports of imports."""

from journeys.authoring.v1 import migration_service_pb2 as pb

from services.authoring.importing.import_bundle import Report


def report_to_proto(report: Report) -> pb.ImportBundleResponse:
    """What an import did, or would do."""
    return pb.ImportBundleResponse(
        import_id=report.import_id,
        dry_run=report.is_dry_run,
        counts=report.counts,
        results=[
            pb.ImportResult(
                kind=one.item.kind.value,
                ref=one.item.ref,
                source_id=one.item.source_id,
                action=one.action,
                target_id=one.target_id,
                reason=one.reason,
            )
            for one in report.decisions
        ],
        blockers=[
            pb.ImportBlocker(ref=one.ref, code=one.code, path=one.path, message=one.message, step_id=one.step_id)
            for one in report.blockers
        ],
    )
