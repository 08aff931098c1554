"""The live stream's writer: who does not read is cut off."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from journeys.analytics.v1.analytics_service_pb2 import StepStats
from journeys.analytics.v1.report_service_pb2 import ExecutionChanged, StatsChanged, WatchJourneyResponse

from gateway.routes import reports


class Transport:
    """Remembers whether it was cut."""

    def __init__(self) -> None:
        self.is_cut = False

    def abort(self) -> None:
        self.is_cut = True


class Reader:
    """A response whose reader takes nothing."""

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().create_future()


async def test_a_reader_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes, and the handler ends as for one that went by itself."""
    monkeypatch.setattr(reports, "SLOW_SECONDS", 0.01)
    transport = Transport()
    request = cast(web.Request, SimpleNamespace(transport=transport))

    with pytest.raises(ConnectionResetError):
        await reports._write(request, cast(Any, Reader()), b"data")

    assert transport.is_cut


@pytest.mark.parametrize(
    ("happening", "told"),
    [
        (
            WatchJourneyResponse(
                id="1.2",
                execution=ExecutionChanged(
                    execution_id="a__v1__u__e", end_user_id="u", status="RUNNING", current_step_id="w", version=1
                ),
            ),
            b"id: 1.2\nevent: execution\ndata: "
            b'{"executionArn":"arn:aws:states:us-east-1:0:execution:disp:a__v1__u__e","executionId":"a__v1__u__e",'
            b'"journeyId":"a","endUserId":"u","status":"RUNNING","startedAt":"1970-01-01T00:00:00.000Z",'
            b'"currentStepId":"w","version":1,"correlationId":"a__v1__u__e-w"}\n\n',
        ),
        (
            WatchJourneyResponse(id="3", stats=StatsChanged(steps=[StepStats(step_id="w", executed=1, waiting=2)])),
            b"id: 3\nevent: stats\ndata: "
            b'[{"stepId":"start","executed":0,"skipped":0,"failed":0,"waiting":0},'
            b'{"stepId":"w","executed":1,"skipped":0,"failed":0,"waiting":2}]\n\n',
        ),
    ],
)
def test_what_an_event_looks_like(happening: WatchJourneyResponse, told: bytes) -> None:
    """An id, a name, one line of JSON; counts of every step, zeros where nobody came by."""
    assert told == reports._event("a", happening, b'[{"id": "start"}, {"id": "w"}]')
