"""Records in, messages out."""

import json
from typing import Any

import pytest
from journeys.analytics.v1 import analytics_service_pb2 as pb
from journeys.events.v1.execution_record_pb2 import ArmChoice, ExecutionRecord

from services.analytics.audit import AuditPage
from services.analytics.convert import (
    act_from_record,
    observed_from_record,
    page_to_proto,
    query_from_proto,
    stats_to_proto,
)
from services.analytics.facts import Arm, Fact
from services.analytics.follower import Unreadable
from services.analytics.step_stats import StepCounts
from services.infra.log.port import Stored
from tests.unit.analytics.reports import T0, act, entry, report, stored, stored_act


def shown(message: ExecutionRecord) -> tuple[list[pb.AuditEntry], list[Any]]:
    """Entries as they are answered, and their metadata."""
    entries = list(page_to_proto(AuditPage(observed_from_record(stored(message)).rows, None)).entries)
    return entries, [json.loads(entry.metadata_json) for entry in entries]


def test_a_record_becomes_facts() -> None:
    """Every member finds its place."""
    message = report(
        status="FAILED",
        transition=4,
        visits={"s": 2},
        results={"s-1": "sent"},
        waiting="w",
        failed="s",
        goals=[9, 5, 9],
    )
    message.state.arms["b"].CopyFrom(ArmChoice(arm_id="red", mode="random", propensity=0.25))

    fact = observed_from_record(stored(message)).fact

    assert (
        Fact(
            key="0134abc",
            partition=stored(message).partition,
            workspace="pk_demo",
            journey_id="act",
            version=3,
            execution_id="act__v3__usr_a__0134abc",
            subject_key="0134subject",
            end_user_id="usr_a",
            started_at=T0,
            status="FAILED",
            transition=4,
            waiting_step="w",
            visits={"s": 2},
            results={"s-1": "sent"},
            arms={"b": Arm("red", "random", 0.25)},
            goals=[5, 9],
            failures=["s-2"],
        )
        == fact
    )


def test_an_entry_of_the_runtime_says_whom_and_where() -> None:
    """Its own metadata, and the ids that tie it to an execution."""
    (shown_entry,), (metadata,) = shown(report(entries=[entry("k:1:0", step="wait", metadata=b'{"mode":"duration"}')]))

    assert ("k:1:0", T0, "system", "wait.fired") == (
        shown_entry.id,
        shown_entry.at_ms,
        shown_entry.actor,
        shown_entry.action,
    )
    assert {
        "mode": "duration",
        "executionId": "act__v3__usr_a__0134abc",
        "stepId": "wait",
        "correlationId": "act__v3__usr_a__0134abc-wait",
        "endUserId": "usr_a",
    } == metadata


def test_an_entry_without_a_step_has_no_correlation() -> None:
    """There is nothing to correlate."""
    _, (metadata,) = shown(report(entries=[entry("k:1:0", step="")]))

    assert {"executionId", "endUserId"} == set(metadata)


@pytest.mark.parametrize("raw", [b"", b"[1]", b"{", b"\xff", b"null"])
def test_metadata_that_is_no_object_does_not_spoil_the_page(raw: bytes) -> None:
    """The entry is shown without it."""
    _, (metadata,) = shown(report(entries=[entry("k:1:0", metadata=raw)]))

    assert "executionId" in metadata


def test_an_act_is_shown_as_its_author_did_it() -> None:
    """Actor, action, time and metadata; no ids of an execution."""
    row = act_from_record(stored_act(act("a1", action="published", metadata=b'{"version":4}')))

    (shown_entry,) = page_to_proto(AuditPage([row], "c")).entries

    assert (
        pb.AuditEntry(id="a1", at_ms=T0, actor="usr_owner", action="published", metadata_json=b'{"version":4}')
        == shown_entry
    )


@pytest.mark.parametrize("value", [b"\xff\xff", b"", b"\x0a\x01k"])
def test_what_is_no_record_is_unreadable(value: bytes) -> None:
    """Broken bytes, an empty message, a record of nobody's workspace."""
    for read in (observed_from_record, act_from_record):
        with pytest.raises(Unreadable):
            read(Stored("t", 0, 0, "k", value, (), 0))


def test_an_entry_without_an_id_gets_one_from_its_place() -> None:
    """So that it is still there once."""
    rows = observed_from_record(stored(report(transition=2, entries=[entry(""), entry("")]))).rows

    assert ["0134abc:2:0", "0134abc:2:1"] == [row.entry_id for row in rows]


def test_a_request_without_a_page_asks_for_the_default() -> None:
    """200 entries, contract 1; an empty filter is none."""
    query = query_from_proto(
        pb.ListAuditRequest(workspace="pk_demo", journey_id="act", actor="", action_prefix="send.")
    )

    assert (200, None, None, "send.", None) == (
        query.limit,
        query.cursor,
        query.actor,
        query.action_prefix,
        query.execution_id,
    )


def test_statistics_keep_their_order() -> None:
    """A step each."""
    reply = stats_to_proto({"a": StepCounts(1, 2, 3, 4), "b": StepCounts(0, 0, 0, 0)})

    assert [pb.StepStats(step_id="a", executed=1, skipped=2, failed=3, waiting=4), pb.StepStats(step_id="b")] == list(
        reply.steps
    )
