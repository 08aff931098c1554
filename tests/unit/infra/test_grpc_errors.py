"""Every kind, every reason and every member of an error crosses the wire and comes back the same."""

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from hypothesis import given
from hypothesis import strategies as st
from journeys.type.v1 import error_reason_pb2

from services.domain.errors import Duplicate, Fault, Invalid, Kind, Late, Missing, NotNow, Refused, TooMuch, Unavailable
from services.infra.grpc.errors import CODES, DETAILS, MAX_FAULT_CHARS, Refusal, Status, refusal_of, status_of

REASONS = [name.removeprefix("ERROR_REASON_").lower() for name in error_reason_pb2.ErrorReason.keys()[1:]]
TABLE = {  # style 4
    "INVALID": "INVALID_ARGUMENT",
    "UNKNOWN_CALLER": "UNAUTHENTICATED",
    "OVER_PLAN": "FAILED_PRECONDITION",
    "FORBIDDEN": "PERMISSION_DENIED",
    "MISSING": "NOT_FOUND",
    "DUPLICATE": "ALREADY_EXISTS",
    "STALE": "ABORTED",
    "NOT_NOW": "FAILED_PRECONDITION",
    "UNMATCHED": "ABORTED",
    "TOO_MUCH": "RESOURCE_EXHAUSTED",
    "UNAVAILABLE": "UNAVAILABLE",
    "LATE": "DEADLINE_EXCEEDED",
    "UNBUILT": "UNIMPLEMENTED",
    "BUG": "INTERNAL",
}
TEXT = st.text(max_size=40)
CODE = st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True)
MEMBERS = st.dictionaries(st.sampled_from(["updatedAt", "revision", "journeys"]), TEXT)


def received(status: Status) -> AioRpcError:
    return AioRpcError(status.code, Metadata(), Metadata(*status.trailing), status.message)


def there_and_back(refused: Refused) -> Refusal:
    return refusal_of(received(status_of(refused)))


def of_kind(kind: Kind, reason: str = "some_reason", message: str = "A sentence.") -> Refused:
    refused = Refused(reason, message)
    refused.kind = kind
    return refused


def test_the_table_is_the_one_of_the_house() -> None:
    """All kinds, each with its code."""
    assert TABLE == {kind.name: code.name for kind, code in CODES.items()}


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_comes_back(kind: Kind) -> None:
    """Also where two kinds share a code."""
    refusal = there_and_back(of_kind(kind))

    assert (kind.value, "some_reason", "A sentence.") == (refusal.kind, refusal.reason, refusal.message)


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_comes_back(reason: str) -> None:
    """And is upper case on the wire, as the enum and google.rpc have it."""
    status = status_of(of_kind(Kind.NOT_NOW, reason))

    assert reason == refusal_of(received(status)).reason
    assert reason.upper().encode() in status.trailing[0][1]


@given(reason=CODE, message=TEXT, faults=st.lists(st.builds(Fault, TEXT, CODE, TEXT), max_size=5), members=MEMBERS)
def test_nothing_is_lost(reason: str, message: str, faults: list[Fault], members: dict[str, str]) -> None:
    """Reason, sentence, faults in their order and members are what was raised."""
    refusal = there_and_back(Invalid(reason, message, faults, members))

    assert (reason, message, members) == (refusal.reason, refusal.message, refusal.metadata)
    assert tuple((it.path, it.code, it.message) for it in faults) == refusal.faults


def test_a_code_in_mixed_case_comes_back_as_it_was() -> None:
    """Codes are snake_case; one that is not must not be changed on the way."""
    refusal = there_and_back(Invalid("validation_error", "x", [Fault("/a", "oddCode", "y")]))

    assert "oddCode" == refusal.faults[0][1]


def test_text_that_protobuf_cannot_carry_does_not_break_the_answer() -> None:
    """JSON may hold lone surrogates; they are replaced."""
    refusal = there_and_back(Invalid("validation_error", "a\ud800b", [Fault("/\udfff", "bad", "c")], {"m": "\ud801"}))

    assert ("a?b", "/?", {"m": "?"}) == (refusal.message, refusal.faults[0][0], refusal.metadata)


def test_faults_beyond_all_measure_are_counted() -> None:
    """A hostile body may hold more faults than a call can carry: the last line says how many are missing."""
    faults = [Fault(f"/{i}", "bad", "x" * 1_000) for i in range(3_000)]
    refusal = there_and_back(Invalid("validation_error", "x", faults))
    told = len(refusal.faults) - 1

    assert MAX_FAULT_CHARS // 1_020 < told < 3_000
    assert ("", "more_faults", f"{3_000 - told} more faults are not listed.") == refusal.faults[-1]


class TestRetryAfter:
    """RetryInfo."""

    @pytest.mark.parametrize("refused", [TooMuch("rate_limited", "x"), Unavailable("x")])
    def test_who_may_come_again_is_told_when(self, refused: Refused) -> None:
        """A second where nobody says otherwise."""
        assert 1.0 == there_and_back(refused).retry_after_seconds

    def test_the_time_can_be_given(self) -> None:
        """As a member `retry_after_seconds`, which then is no member of the problem."""
        refusal = there_and_back(TooMuch("rate_limited", "x", (), {"retry_after_seconds": "2.5", "a": "b"}))

        assert (2.5, {"a": "b"}) == (refusal.retry_after_seconds, refusal.metadata)

    @pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e300"])
    def test_nonsense_is_the_default(self, text: str) -> None:
        """An error on the way out must not raise another."""
        assert (
            1.0 == there_and_back(TooMuch("rate_limited", "x", (), {"retry_after_seconds": text})).retry_after_seconds
        )

    @pytest.mark.parametrize(
        "refused", [Missing("journey", "x"), Duplicate("id_taken", "x"), Late(), NotNow("in_use", "x")]
    )
    def test_the_rest_has_none(self, refused: Refused) -> None:
        """Repeating would not help."""
        assert there_and_back(refused).retry_after_seconds is None


class TestForeign:
    """refusal_of, given what our code did not make."""

    @pytest.mark.parametrize("code", grpc.StatusCode)
    def test_a_bare_status_becomes_unavailable_late_unbuilt_or_a_bug(self, code: grpc.StatusCode) -> None:
        """gRPC makes such by itself; their texts name addresses and are not passed on."""
        expected = {"UNAVAILABLE": "unavailable", "CANCELLED": "unavailable", "DEADLINE_EXCEEDED": "late"}
        expected["UNIMPLEMENTED"] = "unbuilt"
        refusal = refusal_of(AioRpcError(code, Metadata(), Metadata(), "ipv4:10.0.0.7:50051"))

        assert expected.get(code.name, "bug") == refusal.kind
        assert "10.0.0.7" not in refusal.message

    @pytest.mark.parametrize("details", [b"", b"\xff\xff", b"\x08\x05", b"\x08\x0d\x1a\x02\x0a\xff"])
    def test_details_that_do_not_parse_or_fit_are_a_bug(self, details: bytes) -> None:
        """Never another exception."""
        error = AioRpcError(grpc.StatusCode.INTERNAL, Metadata(), Metadata((DETAILS, details)), "text")

        assert ("bug", "internal") == (refusal_of(error).kind, refusal_of(error).reason)

    def test_an_error_without_metadata_is_a_bug(self) -> None:
        """Nothing is taken for granted."""
        assert "bug" == refusal_of(AioRpcError(grpc.StatusCode.UNKNOWN)).kind

    def test_details_of_another_domain_are_not_ours(self) -> None:
        """Another product's reason means nothing to our callers."""
        status = status_of(Missing("journey", "x"))
        foreign = status.trailing[0][1].replace(b"journeys", b"journexs")
        error = AioRpcError(status.code, Metadata(), Metadata((DETAILS, foreign)), status.message)

        assert "bug" == refusal_of(error).kind

    def test_a_kind_we_do_not_know_is_not_ours(self) -> None:
        """A newer peer may have one."""
        status = status_of(Missing("journey", "x"))
        newer = status.trailing[0][1].replace(b"missing", b"missong")
        error = AioRpcError(status.code, Metadata(), Metadata((DETAILS, newer)), status.message)

        assert "bug" == refusal_of(error).kind
