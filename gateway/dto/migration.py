"""Answers about bundles, as the pinpoint design shows them (section 7)."""

from typing import Literal, Self

from journeys.authoring.v1 import migration_service_pb2 as pb

from gateway.dto.shown import Dto, optional

Kind = Literal["audience", "contract", "communication", "journey"]
Action = Literal["created", "updated", "unchanged", "skipped", "conflict", "failed"]


class ImportCounts(Dto, kw_only=True):
    """How many objects met which end."""

    created: int
    updated: int
    unchanged: int
    skipped: int
    conflict: int
    failed: int


class ImportResult(Dto, kw_only=True):
    """What became of one object, or would become of it; `reason` where it says more than the action."""

    kind: Kind
    ref: str
    action: Action
    target_id: str | None
    reason: str | None


class ImportedId(Dto, kw_only=True):
    """Which object here stands for which of the source."""

    kind: Kind
    ref: str
    source_id: str
    target_id: str


class ImportBlocker(Dto, kw_only=True):
    """What publish would refuse of an imported journey."""

    ref: str
    code: str
    step_id: str | None
    path: str
    message: str


class ImportReport(Dto, kw_only=True):
    """What an import did, or with `dryRun` would do."""

    import_id: str
    dry_run: bool
    counts: ImportCounts
    results: list[ImportResult]
    id_map: list[ImportedId]
    blockers: list[ImportBlocker]

    @classmethod
    def from_proto(cls, report: pb.ImportBundleResponse) -> Self:
        """A report."""
        return cls(
            import_id=report.import_id,
            dry_run=report.dry_run,
            counts=ImportCounts(**{name: report.counts[name] for name in ImportCounts.__struct_fields__}),
            results=[
                ImportResult(
                    kind=one.kind,  # type: ignore[arg-type]  # authoring knows these four
                    ref=one.ref,
                    action=one.action,  # type: ignore[arg-type]  # and these six
                    target_id=optional(one, "target_id"),
                    reason=optional(one, "reason"),
                )
                for one in report.results
            ],
            id_map=[
                ImportedId(
                    kind=one.kind,  # type: ignore[arg-type]  # the same four
                    ref=one.ref,
                    source_id=one.source_id,
                    target_id=one.target_id,
                )
                for one in report.results
                if one.HasField("target_id")
            ],
            blockers=[
                ImportBlocker(
                    ref=one.ref,
                    code=one.code,
                    step_id=optional(one, "step_id"),
                    path=one.path,
                    message=one.message,
                )
                for one in report.blockers
            ],
        )
