"""Lists and look-ups of executions and messages: newest first, nothing that was decided against."""

from dataclasses import replace
from typing import Any

import pytest

from services.domain import ids
from services.domain.errors import Invalid, Missing
from services.domain.execution.execution import Execution, Occasion
from services.domain.execution.lifecycle import Status
from services.runtime.catalog import Catalog
from services.runtime.collections import COLLECTIONS, EXECUTIONS, MESSAGES, TOPICS, MessageDocument
from services.runtime.lanes import subject_of
from services.runtime.paging import PageRequest
from services.runtime.queries import MessageFilter, Queries
from tests.support.journeys import WORKSPACE as WS
from tests.support.journeys import publish_workspace
from tests.support.memory import MemoryDocuments, MemoryLog

SECRET = b"0" * 32
ALL = PageRequest(500)


@pytest.fixture
async def documents() -> MemoryDocuments:
    store = MemoryDocuments()
    await store.open(COLLECTIONS)
    return store


@pytest.fixture
async def queries(documents: MemoryDocuments) -> Queries:
    log = MemoryLog()
    await log.open(TOPICS)
    await publish_workspace(log)
    return Queries(documents, Catalog(log))


def execution(number: int, *, user: str = "usr_a", journey: str = "act", status: Status = Status.RUNNING) -> Execution:
    """One execution; the higher the number, the newer."""
    subject = subject_of(WS, SECRET, user)
    execution_id = ids.execution_id(journey, 1, user, f"e{number}")
    return Execution(
        key=ids.execution_key(subject.slot, SECRET, WS, execution_id),
        slot=subject.slot,
        lane=ids.lane_of(subject.slot),
        subject_key=subject.key,
        workspace_id=WS,
        execution_id=execution_id,
        journey_id=journey,
        journey_version=1,
        subject_id=user,
        trigger=Occasion(f"e{number}", "signed_up", {}, number, number),
        started_at=number,
        status=status,
        step_id="hi",
    )


def message(number: int, *, user: str = "usr_a", journey: str = "act") -> MessageDocument:
    """One message; the higher the number, the newer."""
    one = execution(number, user=user, journey=journey)
    return MessageDocument(
        key=f"{one.execution_id}-hi-1",
        workspace=WS,
        journey_id=journey,
        journey_version=1,
        execution_id=one.execution_id,
        subject_key=one.subject_key,
        end_user_id=user,
        step_id="hi",
        channel="email",
        status="sent",
        to="a***@e***.org",
        at=number,
    )


async def started(queries: Queries, page: PageRequest = ALL, **filters: Any) -> list[int]:
    """The numbers of the executions on a page."""
    return [one.started_at for one in (await queries.executions(WS, "act", page, **filters)).items]


class TestExecutions:
    """executions: a journey's, newest first."""

    async def test_a_page_follows_a_page(self, queries: Queries, documents: MemoryDocuments) -> None:
        """Each once, newest first; other journeys and workspaces are not shown."""
        for number in range(7):
            await documents.insert(EXECUTIONS, execution(number))
        await documents.insert(EXECUTIONS, execution(9, journey="other"))
        await documents.insert(EXECUTIONS, replace(execution(10), workspace_id="pk_other"))

        seen, cursor = [], None
        while True:
            page = await queries.executions(WS, "act", PageRequest(3, cursor))
            seen.append([one.started_at for one in page.items])
            if (cursor := page.cursor) is None:
                break

        assert [[6, 5, 4], [3, 2, 1], [0]] == seen

    @pytest.mark.parametrize("status", Status)
    async def test_what_was_decided_against_is_not_shown(
        self, queries: Queries, documents: MemoryDocuments, status: Status
    ) -> None:
        """REFUSED and HOLDOUT are ours alone."""
        one = execution(1, status=status)
        await documents.insert(EXECUTIONS, one)
        shown = status not in (Status.REFUSED, Status.HOLDOUT)

        assert ([1] if shown else []) == await started(queries)
        assert ([1] if shown else []) == await started(queries, end_user_id="usr_a")
        if shown:
            assert one == await queries.execution(WS, "act", one.execution_id)
        else:
            with pytest.raises(Missing):
                await queries.execution(WS, "act", one.execution_id)

    async def test_a_full_page_among_many_refusals(self, queries: Queries, documents: MemoryDocuments) -> None:
        """What is not shown takes no room, and no page skips or repeats anybody."""
        for number in range(1_300):
            status = Status.SUCCEEDED if number % 100 == 7 else Status.REFUSED
            await documents.insert(EXECUTIONS, execution(number, status=status))

        first = await queries.executions(WS, "act", PageRequest(5))
        second = await queries.executions(WS, "act", PageRequest(5, first.cursor))
        third = await queries.executions(WS, "act", PageRequest(5, second.cursor))

        shown = [[one.started_at for one in page.items] for page in (first, second, third)]
        assert [[1207, 1107, 1007, 907, 807], [707, 607, 507, 407, 307], [207, 107, 7]] == shown
        assert third.cursor is None

    async def test_filters_by_status_and_person(self, queries: Queries, documents: MemoryDocuments) -> None:
        """Alone and together."""
        for number, (user, status) in enumerate(
            [("usr_a", Status.RUNNING), ("usr_b", Status.RUNNING), ("usr_a", Status.FAILED), ("usr_a", Status.RUNNING)]
        ):
            await documents.insert(EXECUTIONS, execution(number, user=user, status=status))

        assert [3, 1, 0] == await started(queries, status="RUNNING")
        assert [3, 2, 0] == await started(queries, end_user_id="usr_a")
        assert [3, 0] == await started(queries, end_user_id="usr_a", status="RUNNING")
        assert [] == await started(queries, end_user_id="nobody")

    @pytest.mark.parametrize("status", ["", "running", "REFUSED", "HOLDOUT"])
    async def test_a_status_there_is_none_of_is_refused(self, queries: Queries, status: str) -> None:
        """The internal ones are none."""
        with pytest.raises(Invalid) as refused:
            await started(queries, status=status)

        assert ["/status"] == [fault.path for fault in refused.value.faults]

    async def test_a_cursor_of_another_list_is_refused(self, queries: Queries, documents: MemoryDocuments) -> None:
        """A cursor belongs to the list that handed it out."""
        for number in range(3):
            await documents.insert(EXECUTIONS, execution(number))
        page = await queries.executions(WS, "act", PageRequest(1))

        with pytest.raises(Invalid):
            await queries.executions(WS, "other", PageRequest(1, page.cursor))


class TestExecution:
    """execution: one, by its id."""

    @pytest.mark.parametrize(
        ("journey", "execution_id"),
        [
            ("act", "act__v1__usr_a__e2"),
            ("other", "act__v1__usr_a__e1"),
            ("act", "nonsense"),
            ("act", "act__v01__usr_a__e1"),
            ("act", "act__v1__usr%5Fa__e1"),
        ],
    )
    async def test_whatever_is_not_there_is_missing(
        self, queries: Queries, documents: MemoryDocuments, journey: str, execution_id: str
    ) -> None:
        """Another journey's, a malformed id, another spelling of one that is there."""
        await documents.insert(EXECUTIONS, execution(1))

        with pytest.raises(Missing):
            await queries.execution(WS, journey, execution_id)

    async def test_another_workspace_does_not_see_it(self, queries: Queries, documents: MemoryDocuments) -> None:
        """Missing, as if it were nowhere."""
        await documents.insert(EXECUTIONS, execution(1))

        with pytest.raises(Missing):
            await queries.execution("pk_other", "act", "act__v1__usr_a__e1")


class TestMessages:
    """messages: of all, a journey, a person, an execution."""

    @pytest.mark.parametrize(
        ("only", "numbers"),
        [
            (MessageFilter(), [4, 3, 2, 1]),
            (MessageFilter(journey_id="act"), [4, 2, 1]),
            (MessageFilter(end_user_id="usr_a"), [3, 2, 1]),
            (MessageFilter(end_user_id="usr_a", journey_id="act"), [2, 1]),
            (MessageFilter(execution_id="act__v1__usr_a__e2"), [2]),
            (MessageFilter(execution_id="act__v1__usr_a__e2", journey_id="other"), []),
            (MessageFilter(execution_id="act__v1__usr_a__e2", end_user_id="usr_b"), []),
            (MessageFilter(execution_id="nonsense"), []),
            (MessageFilter(end_user_id="nobody"), []),
        ],
    )
    async def test_everything_given_must_agree(
        self, queries: Queries, documents: MemoryDocuments, only: MessageFilter, numbers: list[int]
    ) -> None:
        """Newest first, by whichever index fits."""
        for number, user, journey in (
            (1, "usr_a", "act"),
            (2, "usr_a", "act"),
            (3, "usr_a", "other"),
            (4, "usr_b", "act"),
        ):
            await documents.insert(MESSAGES, message(number, user=user, journey=journey))

        assert numbers == [one.at for one in (await queries.messages(WS, ALL, only)).items]

    async def test_an_unknown_workspace_has_none(self, queries: Queries) -> None:
        """Nobody is known there."""
        assert [] == (await queries.messages("pk_other", ALL, MessageFilter(end_user_id="usr_a"))).items
