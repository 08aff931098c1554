"""Server and channel together: errors, deadlines, identity, retries, health, limits, figures."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.descriptor_pool import Default
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from journeys.runtime.v1 import subject_service_pb2 as pb
from journeys.runtime.v1 import subject_service_pb2_grpc as rpc

from services.domain.errors import Fault, Invalid, Missing, Refused, Unavailable
from services.infra.documents.port import NewerDocument, StoreUnavailable
from services.infra.grpc import caller, channel, server
from services.infra.grpc.channel import connect, is_repeatable, ping, wait_ready
from services.infra.grpc.errors import Refusal, refusal_of
from services.infra.grpc.server import Server
from services.infra.log.port import LogUnavailable
from services.infra.telemetry import Telemetry

# ruff: noqa: N802  # the methods are named by the protos

NAME = "journeys.runtime.v1.SubjectService"
Answer = Callable[[Any], Awaitable[None]]


class Subjects(rpc.SubjectServiceServicer):
    """Two methods do what the test says: GetSubject may be repeated, DeleteSuppression may not. The rest is unbuilt."""

    def __init__(self) -> None:
        self.calls = 0
        self.answer: Answer = _well

    async def GetSubject(self, request: pb.GetSubjectRequest, context: Any) -> pb.GetSubjectResponse:
        self.calls += 1
        await self.answer(context)
        return pb.GetSubjectResponse()

    async def DeleteSuppression(
        self, request: pb.DeleteSuppressionRequest, context: Any
    ) -> pb.DeleteSuppressionResponse:
        self.calls += 1
        await self.answer(context)
        return pb.DeleteSuppressionResponse()

    async def ImportSubjects(self, request: pb.ImportSubjectsRequest, context: Any) -> pb.ImportSubjectsResponse:
        self.calls = request.ByteSize()
        return pb.ImportSubjectsResponse()


class Wire:
    """A server on a socket, a channel to it, and stubs."""

    def __init__(self, directory: str) -> None:
        self.servicer = subjects()
        self.telemetry = Telemetry()
        self.server = Server("runtime", telemetry=self.telemetry)
        self.server.add(rpc.add_SubjectServiceServicer_to_server, self.servicer, NAME)
        self.address = f"unix:{directory}/r.sock"
        self.channel = connect(self.address)
        self.bare = grpc.aio.insecure_channel(self.address)
        self.stub: Any = rpc.SubjectServiceStub(self.channel)
        self.bare_stub: Any = rpc.SubjectServiceStub(self.bare)

    async def get(self, **more: Any) -> None:
        await self.stub.GetSubject(pb.GetSubjectRequest(), **more)

    async def refusal(self, error: BaseException | None = None, **more: Any) -> Refusal:
        if error is not None:
            self.servicer.answer = raising(error)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.stub.GetSubject(pb.GetSubjectRequest(), **more)
        return refusal_of(caught.value)

    def figures(self, code: str, method: str = f"{NAME}/GetSubject") -> float | None:
        labels = {"method": method, "code": code}
        return self.telemetry.registry.get_sample_value("rpc_server_duration_seconds_count", labels)


def subjects() -> Subjects:
    return Subjects()  # type: ignore[abstract]  # what it leaves out is unbuilt, and a test says so


async def _well(_context: Any) -> None:
    return None


def raising(*errors: BaseException) -> Answer:
    """Raises these, one a call; the last one again and again."""
    left = list(errors)

    async def answer(_context: Any) -> None:
        raise left.pop(0) if len(left) > 1 else left[0]

    return answer


def failing(times: int) -> Answer:
    """Is unavailable so many times."""
    left = [times]

    async def answer(_context: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise Unavailable("Not now.")

    return answer


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    # Not tmp_path: its length may exceed what a socket's path may have.
    with tempfile.TemporaryDirectory() as directory:
        wire = Wire(directory)
        await wire.server.start(wire.address)
        await wait_ready(wire.channel, 5)
        yield wire
        await wire.channel.close()
        await wire.bare.close()
        await wire.server.stop(0)


class TestErrors:
    """What a servicer raises is what the caller reads."""

    async def test_a_refusal_crosses_with_all_it_says(self, wire: Wire) -> None:
        """Kind, reason, sentence, faults and members."""
        refusal = await wire.refusal(
            Invalid("graph_invalid", "Two faults.", [Fault("/a", "bad", "A."), Fault("/b", "worse", "B.")], {"m": "1"})
        )

        assert (
            Refusal("invalid", "graph_invalid", "Two faults.", (("/a", "bad", "A."), ("/b", "worse", "B.")), {"m": "1"})
            == refusal
        )

    async def test_thousands_of_faults_cross(self, wire: Wire) -> None:
        """gRPC's default for metadata is 8 KiB; a large graph has more faults than that."""
        faults = [Fault(f"/graph/steps/{i}", "bad_step", "Something is wrong with this step.") for i in range(5_000)]

        assert 5_000 == len((await wire.refusal(Invalid("graph_invalid", "Many.", faults))).faults)

    @pytest.mark.parametrize("error", [StoreUnavailable("disk full"), LogUnavailable("broker gone")])
    async def test_a_port_that_cannot_is_unavailable(self, wire: Wire, error: Exception) -> None:
        """With a time to come again, and without the machinery's own words."""
        refusal = await wire.refusal(error)

        assert ("unavailable", "unavailable", 1.0) == (refusal.kind, refusal.reason, refusal.retry_after_seconds)
        assert str(error) not in refusal.message

    async def test_a_document_of_a_newer_version_is_unavailable_until_the_update(self, wire: Wire) -> None:
        """With what there is to do about it, and no key: that may be a person's."""
        refusal = await wire.refusal(NewerDocument("subjects", "pk_test:usr_ann"))

        assert ("unavailable", "A newer version of this program wrote what is asked for; update this one.") == (
            refusal.reason,
            refusal.message,
        )

    async def test_a_timeout_inside_is_late(self, wire: Wire) -> None:
        """asyncio's TimeoutError means that something did not answer in time."""
        assert "late" == (await wire.refusal(TimeoutError())).kind

    async def test_a_bug_is_internal_without_details(self, wire: Wire) -> None:
        """The caller gets the request id, the log gets the traceback."""
        with structlog.testing.capture_logs() as logs, caller.acting("usr_1", "req-7"):
            refusal = await wire.refusal(KeyError("ann@example.com"))

        assert ("bug", "internal") == (refusal.kind, refusal.reason)
        assert "req-7" in refusal.message
        assert "ann@" not in refusal.message
        (line,) = [line for line in logs if line["event"] == "rpc.failed"]
        assert isinstance(line["exc_info"], KeyError)

    async def test_what_is_not_overridden_is_unbuilt(self, wire: Wire) -> None:
        """Generated methods raise NotImplementedError."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await wire.stub.PutSubject(pb.PutSubjectRequest())

        assert ("unbuilt", "not_implemented") == (refusal_of(caught.value).kind, refusal_of(caught.value).reason)

    async def test_a_service_nobody_added_is_unbuilt(self, wire: Wire) -> None:
        """gRPC's own UNIMPLEMENTED."""
        method = wire.channel.unary_unary("/journeys.nowhere.v1.X/Y", bytes, bytes)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(b"")

        assert "unbuilt" == refusal_of(caught.value).kind

    async def test_what_a_peer_refused_is_passed_on(self, wire: Wire) -> None:
        """A servicer that asks another service need not translate."""
        wire.servicer.answer = raising(Missing("journey", "x"))
        with pytest.raises(grpc.aio.AioRpcError) as peer:
            await wire.get()

        assert Refusal("missing", "not_found", "There is no journey 'x'.") == await wire.refusal(peer.value)

    async def test_a_servicer_s_own_abort_stays(self, wire: Wire) -> None:
        """Not our habit, but not swallowed."""

        async def answer(context: Any) -> None:
            await context.abort(grpc.StatusCode.DATA_LOSS, "gone")

        wire.servicer.answer = answer
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await wire.get()

        assert grpc.StatusCode.DATA_LOSS == caught.value.code()

    async def test_nobody_there_is_unavailable(self) -> None:
        """A peer that is down or not yet up, after the retries."""
        lonely = connect("unix:/nonexistent/r.sock")
        stub: Any = rpc.SubjectServiceStub(lonely)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetSubject(pb.GetSubjectRequest())
        await lonely.close()

        assert "unavailable" == refusal_of(caught.value).kind
        assert "nonexistent" not in refusal_of(caught.value).message


class TestDeadlines:
    """Every call has one."""

    async def test_a_call_without_timeout_gets_ten_seconds(self, wire: Wire) -> None:
        """The server sees the client's default."""
        left: list[float | None] = []

        async def answer(context: Any) -> None:
            left.append(context.time_remaining())

        wire.servicer.answer = answer
        await wire.get()
        await wire.get(timeout=3)

        assert [10.0, 3.0] == [pytest.approx(it, abs=1.5) for it in left]

    async def test_a_late_answer_is_late(self, wire: Wire) -> None:
        """And the servicer's work is cancelled."""
        ended = asyncio.Event()

        async def answer(_context: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        wire.servicer.answer = answer
        refusal = await wire.refusal(timeout=0.05)
        await asyncio.wait_for(ended.wait(), 5)

        assert ("late", "deadline_exceeded") == (refusal.kind, refusal.reason)

    async def test_a_caller_without_deadline_gets_the_server_s(
        self, wire: Wire, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A foreign client must not hold a place for ever."""
        monkeypatch.setattr(server, "DEADLINE_SECONDS", 0.05)

        async def answer(_context: Any) -> None:
            await asyncio.Event().wait()

        wire.servicer.answer = answer
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await wire.bare_stub.GetSubject(pb.GetSubjectRequest())

        assert "late" == refusal_of(caught.value).kind


class TestCaller:
    """Who asks travels along."""

    @pytest.fixture
    def seen(self, wire: Wire) -> list[tuple[str, str, str, str]]:
        seen: list[tuple[str, str, str, str]] = []

        async def answer(context: Any) -> None:
            bound = structlog.contextvars.get_contextvars()["request_id"]
            seen.append((caller.actor_from(context), caller.actor.get(), caller.request_id.get(), bound))

        wire.servicer.answer = answer
        return seen

    async def test_actor_and_request_id_are_the_caller_s(self, wire: Wire, seen: list[tuple[str, ...]]) -> None:
        """In the context, in the variables that the next call will read, and in every log line."""
        with caller.acting("usr_1", "req-1"):
            await wire.get()

        assert [("usr_1", "usr_1", "req-1", "req-1")] == seen

    async def test_nobody_is_the_system(self, wire: Wire, seen: list[tuple[str, ...]]) -> None:
        """A background task acts for nobody, under a request id of its own each time."""
        await wire.get()
        await wire.get()

        assert ["system", "system"] == [it[0] for it in seen]
        assert 2 == len({it[2] for it in seen if it[2]})

    async def test_a_foreign_caller_gets_a_request_id(self, wire: Wire, seen: list[tuple[str, ...]]) -> None:
        """grpcurl sends none."""
        await wire.bare_stub.GetSubject(pb.GetSubjectRequest())

        assert 32 == len(seen[0][2])

    @pytest.mark.parametrize("actor", ["usr_ü", "a b ", "50%", "%41", "zeile\n", "\x00", "日本"])
    async def test_any_id_survives(self, wire: Wire, seen: list[tuple[str, ...]], actor: str) -> None:
        """gRPC refuses metadata that is not printable ASCII; ours is escaped."""
        with caller.acting(actor, actor):
            await wire.get()

        assert (actor, actor, actor, actor) == seen[0]

    async def test_acting_ends_with_its_block(self) -> None:
        """And keeps the request id that was there if none is given."""
        with caller.acting("a", "r"):
            with caller.acting("b"):
                inner = (caller.actor.get(), caller.request_id.get())
            outer = (caller.actor.get(), caller.request_id.get())

        assert (("b", "r"), ("a", "r"), ("", "")) == (inner, outer, (caller.actor.get(), caller.request_id.get()))

    async def test_one_call_does_not_see_another_s_caller(self, wire: Wire, seen: list[tuple[str, ...]]) -> None:
        """Calls at once keep apart."""

        async def ask(who: str) -> None:
            with caller.acting(who, who):
                await wire.get()

        await asyncio.gather(*(ask(f"u{i}") for i in range(20)))

        assert all(it[0] == it[1] == it[2] for it in seen)
        assert {f"u{i}" for i in range(20)} == {it[0] for it in seen}


class TestRetries:
    """UNAVAILABLE is tried again, where the proto allows it."""

    async def test_a_repeatable_call_is_repeated(self, wire: Wire) -> None:
        """The caller sees only the answer, all tries bear one request id."""
        ids: list[str] = []
        fail = failing(2)

        async def answer(context: Any) -> None:
            ids.append(caller.request_id.get())
            await fail(context)

        wire.servicer.answer = answer
        await wire.get()

        assert (3, 1) == (wire.servicer.calls, len(set(ids)))

    async def test_it_is_given_up_after_four_tries(self, wire: Wire) -> None:
        """Then the caller decides."""
        refusal = await wire.refusal(Unavailable("Not now."))

        assert (4, "unavailable") == (wire.servicer.calls, refusal.kind)

    async def test_what_is_not_declared_repeatable_is_tried_once(self, wire: Wire) -> None:
        """Nobody knows what became of the first try."""
        wire.servicer.answer = failing(1)
        with pytest.raises(grpc.aio.AioRpcError):
            await wire.stub.DeleteSuppression(pb.DeleteSuppressionRequest())

        assert 1 == wire.servicer.calls

    @pytest.mark.parametrize(
        "error", [Missing("subject", "x"), TimeoutError(), KeyError("x"), Refused("internal", "x")]
    )
    async def test_other_errors_are_not_repeated(self, wire: Wire, error: Exception) -> None:
        """They would be the same again, or worse."""
        await wire.refusal(error)

        assert 1 == wire.servicer.calls

    def test_every_method_is_covered_by_its_option(self) -> None:
        """The service config names exactly the methods whose descriptor says so, by path."""
        named = {(it["service"], it["method"]) for it in channel.service_config()["methodConfig"][0]["name"]}
        service = Default().FindServiceByName(NAME)

        assert {(NAME, it.name) for it in service.methods if is_repeatable(it)} == {it for it in named if it[0] == NAME}
        assert (NAME, "GetSubject") in named
        assert (NAME, "DeleteSuppression") not in named
        assert ("journeys.authoring.v1.AuthoringService", "GetJourney") in named


class TestLifeCycle:
    """start, serving, stop."""

    async def test_a_port_of_zero_becomes_a_real_one(self) -> None:
        """start answers with what clients dial."""
        one = Server("runtime")
        one.add(rpc.add_SubjectServiceServicer_to_server, subjects(), NAME)
        address = await one.start("127.0.0.1:0")
        async with connect(address) as there:
            stub: Any = rpc.SubjectServiceStub(there)
            await stub.GetSubject(pb.GetSubjectRequest())
        await one.stop(0)

        assert address.startswith("127.0.0.1:")
        assert 0 < int(address.rpartition(":")[2])

    async def test_a_port_that_is_taken_is_refused(self) -> None:
        """By default gRPC would share it, and each server get half of the calls."""
        one, other = Server("one"), Server("other")
        address = await one.start("127.0.0.1:0")
        with pytest.raises(OSError, match="other cannot listen at"):
            await other.start(address)
        await one.stop(0)
        await other.stop(0)

    async def test_a_socket_path_that_is_too_long_is_refused_in_words(self) -> None:
        """The system's limit is 107 bytes."""
        with pytest.raises(OSError, match="longer than 107 bytes"):
            await Server("one").start("unix:/tmp/" + "x" * 200)

    async def test_health_follows_serving(self, wire: Wire) -> None:
        """Overall and for the service."""
        for service in ("", NAME):
            await ping(wire.channel, service)
        await wire.server.serving(False)
        for service in ("", NAME):
            with pytest.raises(Unavailable, match="not serving"):
                await ping(wire.channel, service)
        await wire.server.serving(True)

        await ping(wire.channel, NAME)

    async def test_a_server_may_begin_as_not_serving(self) -> None:
        """What has to warm up says so before start."""
        one = Server("one")
        await one.serving(False)
        address = await one.start("127.0.0.1:0")
        async with connect(address) as there:
            with pytest.raises(Unavailable, match="not serving"):
                await ping(there)
        await one.stop(0)

    async def test_health_watch_has_no_deadline_of_ours(self, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stream that waits for a change is not a call that hangs."""
        monkeypatch.setattr(server, "DEADLINE_SECONDS", 0.01)
        stub: Any = health_pb2_grpc.HealthStub(wire.bare)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=NAME))
        first = await watch.read()
        await asyncio.sleep(0.05)
        await wire.server.serving(False)
        second = await watch.read()
        watch.cancel()

        assert (1, 2) == (first.status, second.status)

    async def test_a_call_in_flight_ends_before_the_server(self, wire: Wire) -> None:
        """stop(grace) lets it."""
        started, go = asyncio.Event(), asyncio.Event()

        async def answer(_context: Any) -> None:
            started.set()
            await go.wait()

        wire.servicer.answer = answer
        call = asyncio.ensure_future(wire.get())
        await started.wait()
        stopping = asyncio.create_task(wire.server.stop(5))
        await asyncio.sleep(0.01)
        go.set()
        await asyncio.gather(stopping, call)

        assert 1.0 == wire.figures("OK")

    async def test_wait_ready_says_who_does_not_answer(self) -> None:
        """Unavailable with the address, not a bare timeout."""
        lonely = connect("unix:/nonexistent/r.sock")
        with pytest.raises(Unavailable, match=r"unix:/nonexistent/r\.sock did not answer within 0\.05 s"):
            await wait_ready(lonely, 0.05)
        await lonely.close()

    async def test_a_servicer_is_not_added_to_a_running_server(self, wire: Wire) -> None:
        """gRPC would ignore it."""
        with pytest.raises(RuntimeError, match="already started"):
            wire.server.add(rpc.add_SubjectServiceServicer_to_server, subjects(), NAME)

    async def test_reflection_lists_the_services(self, wire: Wire) -> None:
        """grpcurl needs no protos."""
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(wire.bare)  # type: ignore[arg-type]  # its stubs know no asyncio
        requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
        replies = [reply async for reply in stub.ServerReflectionInfo(iter(requests))]

        assert NAME in {it.name for it in replies[0].list_services_response.service}

    async def test_a_large_message_passes(self, wire: Wire) -> None:
        """Bundles and batches have up to 20 MB; gRPC's default is 4 MiB."""
        request = pb.ImportSubjectsRequest()
        request.workspace = "x" * 20_000_000
        await wire.stub.ImportSubjects(request)

        assert wire.servicer.calls > 20_000_000


class TestFigures:
    """Rate, errors and duration."""

    async def test_each_call_is_counted_by_method_and_code(self, wire: Wire) -> None:
        """Tries count each."""
        await wire.get()
        await wire.get()
        await wire.refusal(Missing("subject", "x"))

        assert (2.0, 1.0) == (wire.figures("OK"), wire.figures("NOT_FOUND"))

    async def test_a_cancelled_call_is_counted(self, wire: Wire) -> None:
        """The caller went away."""
        started, ended = asyncio.Event(), asyncio.Event()

        async def answer(_context: Any) -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        wire.servicer.answer = answer
        call = wire.stub.GetSubject(pb.GetSubjectRequest())
        waiting = asyncio.ensure_future(call)
        await started.wait()
        call.cancel()
        await asyncio.wait([waiting])
        await asyncio.wait_for(ended.wait(), 5)
        await asyncio.sleep(0)

        assert 1.0 == wire.figures("CANCELLED")

    async def test_each_call_is_a_debug_line(self, wire: Wire) -> None:
        """Method, code, time and actor."""
        with structlog.testing.capture_logs() as logs, caller.acting("usr_1", "req-1"):
            await wire.get()

        (line,) = [line for line in logs if line["event"] == "rpc"]
        assert ("debug", f"{NAME}/GetSubject", "OK", "usr_1") == (
            line["log_level"],
            line["method"],
            line["code"],
            line["actor"],
        )

    async def test_a_round_trip_is_cheap(self, wire: Wire) -> None:
        """Measured 0.47 ms on one core; a tenfold slower one means that something costs a task or a thread per call."""
        began = time.perf_counter()
        for _ in range(200):
            await wire.get()

        assert (time.perf_counter() - began) / 200 < 0.005
