"""Acknowledgements on their own: written for executions to which nothing else happens.

Law: the same plan and the same guarded write as anywhere, without reading anything: the execution is as we wrote it
last, in this epoch, and whatever it waits for is not what is acknowledged. Whoever is not so plain, or turns out not to
be, takes the way of everybody else.
Source: runtime design 6 (commit order, e).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from services.domain.execution.execution import Execution
from services.domain.execution.planner import plan
from services.domain.execution.triggers import Acknowledged, Profile, View, ViewIncomplete
from services.infra.documents.port import Documents, Outcome, Replace
from services.runtime.acks import Ack, Acks
from services.runtime.catalog import Catalog
from services.runtime.collections import EXECUTIONS

_MOVED_BY_NEWS = frozenset({"result", "until_condition"})  # waits that the end of a send may end


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """An execution that takes note, and what of."""

    execution: Execution
    entry_ids: frozenset[str]
    intents: tuple[str, ...]


def is_plain(execution: Execution | None, epoch: int) -> bool:
    """Whether nothing has to be read to acknowledge something of this execution, as it is remembered."""
    return (
        execution is not None
        and execution.owner_epoch == epoch
        and not (execution.wait is not None and execution.wait.mode in _MOVED_BY_NEWS)
    )


async def acknowledged(
    documents: Documents,
    catalog: Catalog,
    acks: Acks,
    executions: Sequence[Execution],
    now: int,
    pause: Callable[[], Awaitable[None]],
) -> tuple[list[Execution], list[str]]:
    """Write what is known of these: those written, as they are now, and the keys of the others.

    `pause` is called between two of them: others may have the loop.
    """
    view = _bare(now)
    made: list[Acknowledgement] = []
    others: list[str] = []
    for execution in executions:
        await pause()
        ack = acks.of(execution.key)
        found = None if ack is None else _planned(catalog, execution, ack, view, now)
        if found is None:
            others.append(execution.key)
        else:
            made.append(found)
    outcomes = await documents.write_many([Replace(EXECUTIONS, one.execution) for one in made]) if made else []
    written: list[Execution] = []
    for one, outcome in zip(made, outcomes, strict=True):
        if outcome is Outcome.APPLIED:
            acks.written(one.execution.key, one.entry_ids, one.intents)
            written.append(one.execution)
        else:
            others.append(one.execution.key)
    return written, others


def _planned(catalog: Catalog, execution: Execution, ack: Ack, view: View, now: int) -> Acknowledgement | None:
    version = catalog.version(execution.workspace_id, execution.journey_id, execution.journey_version)
    if version is None:
        return None
    entry_ids, intents = frozenset(ack.entry_ids), tuple(ack.settled)
    trigger = Acknowledged(now, tuple(ack.settled.values()), entry_ids)
    try:
        made = plan(version, execution, trigger, view, execution.transition + 1)
    except Exception:  # noqa: BLE001  # the way of everybody else sets it aside, and tells why
        return None
    if made is None or made.promised or len(made.execution.outbox) > len(execution.outbox):
        return None  # it has more to do than to take note
    return Acknowledgement(made.execution, entry_ids, intents)


def _bare(now: int) -> View:
    """A view in which there is nothing to see: taking note looks at nothing."""
    return View(
        profile=Profile(""),
        zone="UTC",
        journey_status="published",
        salt="",
        holdout_percent=0.0,
        audience=_unseen,
        events=_unseen,
        render=_unrendered,
        received=_unseen,
        now=now,
    )


def _unseen(*names: str) -> NoReturn:
    raise ViewIncomplete(names)


def _unrendered(template: str, values: Mapping[str, Any]) -> NoReturn:
    raise ViewIncomplete("rendering")
