"""Kinds of error as gRPC statuses, and back.

Law: one table. The kind, the reason, the sentence, every fault and every member cross the wire unchanged: the
kind and the members in ErrorInfo.metadata, faults as BadRequest field violations, waiting times as RetryInfo.
Source: style 4; google.rpc error_details.proto.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # its .pyi lack the marker
from grpc_status import rpc_status

from services.domain.errors import Fault, Kind, Refused

DOMAIN: Final = "journeys"
DETAILS: Final = "grpc-status-details-bin"
KIND: Final = "kind"
RETRY_AFTER: Final = "retry_after_seconds"
DEFAULT_RETRY_SECONDS: Final = 1.0
# Characters of all faults together. Only a hostile body has more; with escapes they stay within MAX_METADATA_BYTES.
MAX_FAULT_CHARS: Final = 2 * 1024 * 1024

CODES: Final = MappingProxyType(
    {
        Kind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
        Kind.UNKNOWN_CALLER: grpc.StatusCode.UNAUTHENTICATED,
        Kind.OVER_PLAN: grpc.StatusCode.FAILED_PRECONDITION,
        Kind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
        Kind.MISSING: grpc.StatusCode.NOT_FOUND,
        Kind.DUPLICATE: grpc.StatusCode.ALREADY_EXISTS,
        Kind.STALE: grpc.StatusCode.ABORTED,
        Kind.UNMATCHED: grpc.StatusCode.ABORTED,
        Kind.NOT_NOW: grpc.StatusCode.FAILED_PRECONDITION,
        Kind.TOO_MUCH: grpc.StatusCode.RESOURCE_EXHAUSTED,
        Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        Kind.LATE: grpc.StatusCode.DEADLINE_EXCEEDED,
        Kind.UNBUILT: grpc.StatusCode.UNIMPLEMENTED,
        Kind.BUG: grpc.StatusCode.INTERNAL,
    }
)

_RETRIED = frozenset({Kind.TOO_MUCH, Kind.UNAVAILABLE})
_KINDS = frozenset(kind.value for kind in Kind)


@dataclass(frozen=True, slots=True)
class Status:
    """What a server answers instead of a reply."""

    code: grpc.StatusCode
    message: str
    trailing: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a caller learns of a refusal. `kind` is the value of a Kind, `faults` are (path, code, message)."""

    kind: str
    reason: str
    message: str
    faults: tuple[tuple[str, str, str], ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    retry_after_seconds: float | None = None


# What a status without our details means: it was not made by our code but by gRPC, a proxy or an old peer.
# The texts of such statuses name addresses and are never shown.
_UNREACHABLE = Refusal(
    Kind.UNAVAILABLE, "unavailable", "A part of the service cannot be reached.", (), {}, DEFAULT_RETRY_SECONDS
)
_LATE = Refusal(Kind.LATE, "deadline_exceeded", "The answer did not come in time.")
_UNBUILT = Refusal(Kind.UNBUILT, "not_implemented", "This is not built yet.")
_BUG = Refusal(Kind.BUG, "internal", "Something went wrong inside.")
_FOREIGN = MappingProxyType(
    {
        grpc.StatusCode.UNAVAILABLE: _UNREACHABLE,
        grpc.StatusCode.CANCELLED: _UNREACHABLE,  # a server that stops lets go of what it was doing
        grpc.StatusCode.DEADLINE_EXCEEDED: _LATE,
        grpc.StatusCode.UNIMPLEMENTED: _UNBUILT,
    }
)


def status_of(refused: Refused) -> Status:
    """The status of a domain error. A member `retry_after_seconds` of its metadata becomes RetryInfo."""
    members = {_clean(name): _clean(value) for name, value in refused.metadata.items()}
    retry_after = _seconds(members.pop(RETRY_AFTER, None))
    if retry_after is None and refused.kind in _RETRIED:
        retry_after = DEFAULT_RETRY_SECONDS
    message = _clean(refused.message)
    status = status_pb2.Status(code=CODES[refused.kind].value[0], message=message)
    _pack(
        status,
        error_details_pb2.ErrorInfo(
            reason=_raised(_clean(refused.reason)), domain=DOMAIN, metadata={**members, KIND: refused.kind.value}
        ),
    )
    if refused.faults:
        _pack(status, error_details_pb2.BadRequest(field_violations=_violations(refused.faults)))
    if retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(retry_after * 1e9))
        _pack(status, error_details_pb2.RetryInfo(retry_delay=delay))
    return Status(CODES[refused.kind], message, ((DETAILS, status.SerializeToString()),))


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """What an error of a call says. Never raises; a status that is not ours becomes unavailable, late or a bug."""
    foreign = _FOREIGN.get(error.code(), _BUG)
    try:
        status: status_pb2.Status | None = rpc_status.from_call(error)  # type: ignore[arg-type]  # AioRpcError will do
    except (ValueError, TypeError, DecodeError):
        return foreign
    return foreign if status is None else _read(status) or foreign


def _read(status: status_pb2.Status) -> Refusal | None:
    info = error_details_pb2.ErrorInfo()
    faults: tuple[tuple[str, str, str], ...] = ()
    retry_after: float | None = None
    try:
        for detail in status.details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                detail.Unpack(info)
            elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
                request = error_details_pb2.BadRequest()
                detail.Unpack(request)
                faults = tuple((it.field, _lowered(it.reason), it.description) for it in request.field_violations)
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                retry = error_details_pb2.RetryInfo()
                detail.Unpack(retry)
                retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    except DecodeError:
        return None
    members = dict(info.metadata)
    kind = members.pop(KIND, "")
    if info.domain != DOMAIN or kind not in _KINDS:
        return None
    return Refusal(kind, _lowered(info.reason), status.message, faults, members, retry_after)


def _violations(faults: Sequence[Fault]) -> list[Any]:
    violations = []
    left = MAX_FAULT_CHARS
    for told, fault in enumerate(faults):
        left -= len(fault.path) + len(fault.code) + len(fault.message)
        if left < 0:
            fault = Fault("", "more_faults", f"{len(faults) - told} more faults are not listed.")
        violations.append(
            error_details_pb2.BadRequest.FieldViolation(
                field=_clean(fault.path), reason=_raised(_clean(fault.code)), description=_clean(fault.message)
            )
        )
        if left < 0:
            break
    return violations


def _pack(status: status_pb2.Status, message: Any) -> None:
    detail = any_pb2.Any()
    detail.Pack(message)
    status.details.append(detail)


def _raised(code: str) -> str:
    # google.rpc wants UPPER_SNAKE_CASE; a code that would not come back the same stays as it is.
    raised = code.upper()
    return raised if raised.lower() == code else code


def _lowered(code: str) -> str:
    return code.lower() if code.isupper() else code


def _clean(text: str) -> str:
    """The text without lone surrogates, which JSON can carry and protobuf cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text) if text is not None else None
    except ValueError:
        return None
    return seconds if seconds is not None and 0 <= seconds < 1e9 else None
