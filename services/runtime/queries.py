"""What may be asked about executions and messages. Reads only.

Law: what was decided against (REFUSED, HOLDOUT) is no execution to the outside and is never shown. Lists come
newest first, and one costs what it shows, however many there are.
Source: contract 4 and 3 (Messages).
"""

from collections.abc import Callable
from dataclasses import dataclass

from services.domain import ids
from services.domain.errors import Fault, Invalid, Missing
from services.domain.execution.execution import Execution
from services.domain.execution.lifecycle import Status
from services.infra.documents.port import Documents, Page
from services.runtime.catalog import Catalog
from services.runtime.collections import EXECUTIONS, MESSAGES, MessageDocument
from services.runtime.lanes import Subject, subject_of
from services.runtime.messages import is_in_app
from services.runtime.paging import PageRequest, bytes_of, page_of

SHOWN = (Status.RUNNING, Status.SUCCEEDED, Status.FAILED, Status.TIMED_OUT, Status.ABORTED)


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages: those for which everything given agrees."""

    end_user_id: str | None = None
    journey_id: str | None = None
    execution_id: str | None = None


class Queries:
    """Reads executions and messages. All may raise StoreUnavailable and LogUnavailable."""

    def __init__(self, documents: Documents, catalog: Catalog) -> None:
        self._documents = documents
        self._catalog = catalog

    async def executions(
        self,
        workspace: str,
        journey_id: str,
        page: PageRequest,
        *,
        status: str | None = None,
        end_user_id: str | None = None,
    ) -> Page[Execution]:
        """A journey's executions. Raises Invalid for a status there is none of, or a foreign cursor."""
        keep = _is_shown if status is None else _has_status(status)
        if end_user_id is None:
            equals: tuple[str, ...] = (workspace, journey_id)
            return await page_of(self._documents, EXECUTIONS, "by_journey", equals, page, keep, descending=True)
        subject = await self._subject(workspace, end_user_id)
        if subject is None:
            return Page([])
        equals = (subject.key, journey_id)
        return await page_of(self._documents, EXECUTIONS, "by_subject", equals, page, keep, descending=True)

    async def counted(self, workspace: str, journey_id: str, page: PageRequest) -> Page[Execution]:
        """Executions and held-out starts of a journey: all that statistics count. Raises Invalid for a foreign cursor."""
        return await page_of(self._documents, EXECUTIONS, "by_journey", (workspace, journey_id), page, _is_counted)

    async def execution(self, workspace: str, journey_id: str, execution_id: str) -> Execution:
        """One execution of that journey. Raises Missing."""
        try:
            journey, _, end_user_id, _ = ids.parts_of(execution_id)
        except ValueError:
            raise Missing("execution", execution_id) from None
        info = await self._catalog.known(workspace)
        if info is None or journey != journey_id:
            raise Missing("execution", execution_id)
        subject = subject_of(workspace, info.subject_secret, end_user_id)
        key = ids.execution_key(subject.slot, info.subject_secret, workspace, execution_id)
        found = await self._documents.get(EXECUTIONS, key)
        if found is None or not _is_shown(found):
            raise Missing("execution", execution_id)
        return found

    async def messages(self, workspace: str, page: PageRequest, only: MessageFilter) -> Page[MessageDocument]:
        """What was sent, or is being sent. Raises Invalid for a foreign cursor."""
        end_user_id = only.end_user_id
        if end_user_id is None and only.execution_id is not None:
            try:
                _, _, end_user_id, _ = ids.parts_of(only.execution_id)
            except ValueError:
                return Page([])
        index = "by_workspace"
        equals: tuple[str, ...] = (workspace,)
        if end_user_id is not None:
            subject = await self._subject(workspace, end_user_id)
            if subject is None:
                return Page([])
            index, equals = "by_subject", (subject.key,)
        elif only.journey_id is not None:
            index, equals = "by_journey", (workspace, only.journey_id)
        keep = _agrees(only)
        return await page_of(self._documents, MESSAGES, index, equals, page, keep, descending=True, weigh=bytes_of)

    async def in_app(self, workspace: str, end_user_id: str, page: PageRequest) -> Page[MessageDocument]:
        """What the person's in-app store holds. Raises Invalid for a foreign cursor."""
        subject = await self._subject(workspace, end_user_id)
        if subject is None:
            return Page([])
        key = (subject.key,)
        return await page_of(
            self._documents, MESSAGES, "by_subject", key, page, is_in_app, descending=True, weigh=bytes_of
        )

    async def _subject(self, workspace: str, end_user_id: str) -> Subject | None:
        info = await self._catalog.known(workspace)
        return None if info is None else subject_of(workspace, info.subject_secret, end_user_id)


def _is_counted(execution: Execution) -> bool:
    return execution.status is not Status.REFUSED


def _is_shown(execution: Execution) -> bool:
    return execution.status in SHOWN


def _has_status(status: str) -> Callable[[Execution], bool]:
    if status not in SHOWN:
        message = f"An execution is one of {', '.join(SHOWN)}."
        raise Invalid("validation_error", message, [Fault("/status", "unknown_value", message)])
    return lambda execution: execution.status == status


def _agrees(only: MessageFilter) -> Callable[[MessageDocument], bool] | None:
    if only.journey_id is None and only.execution_id is None:
        return None
    return lambda message: (
        only.journey_id in (None, message.journey_id) and only.execution_id in (None, message.execution_id)
    )
