"""The writes of one call to one collection: one unordered bulk, and an outcome for each.

Law: an outcome is never guessed. A bulk answers with totals; where they show that all took effect, all outcomes
are known. Where they do not, or where no answer came, the documents are read again: each carries the stamp of the
write that made it, so a write finds out about itself. A guarded write under one stamp may be sent again as often
as one likes; what can be decided by no reading is IN_DOUBT. Source: runtime design 3; infrastructure 3.3.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.errors import AutoReconnect, BulkWriteError, NetworkTimeout, ServerSelectionTimeoutError

from services.infra.documents.mongo_shape import SCHEMA, STAMP, Raw, Shape
from services.infra.documents.port import Delete, Insert, Outcome, Replace, StoreUnavailable

PAUSES = (0.0, 0.05, 0.2, 0.5, 1.0)  # seconds before each time it is sent
_DUPLICATE_KEY = 11000
logger = logging.getLogger(__name__)

Kind = type[Insert[Any]] | type[Replace[Any]] | type[Delete[Any]]


class Handle(Protocol):
    """What is used of the driver's collection."""

    async def bulk_write(self, requests: Sequence[Any], *, ordered: bool) -> Any:
        """See the driver."""

    def find(self, condition: Mapping[str, Any], projection: Mapping[str, Any]) -> Any:
        """See the driver."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One write, encoded. A delete's `raw` has its key, and `revision` None where any will do."""

    kind: Kind
    key: str
    revision: int | None
    raw: Raw | None


async def apply(handle: Handle, shape: Shape[Any], writes: Sequence[Prepared], stamp: int) -> list[Outcome]:
    """Write, and find out what became of each. Raises StoreUnavailable where nothing at all can be learned."""
    outcomes: dict[int, Outcome] = {}
    waiting = list(range(len(writes)))
    was_lost = False
    reason = "no answer"
    for pause in PAUSES:
        if pause:
            await asyncio.sleep(pause)
        try:
            if was_lost:
                # Before anything is sent again: what the lost request may have done decides what is left to do.
                waiting = await _settle(handle, shape, writes, waiting, stamp, outcomes, was_lost=True)
                for i in waiting:
                    outcomes.pop(i, None)
                if not waiting:
                    break
            requests = [_request(shape, writes[i]) for i in waiting]
            counts, errors, is_unsure = await _send(handle, requests)
        except ServerSelectionTimeoutError as error:
            raise StoreUnavailable(f"no document server answers: {_first_line(error)}") from error
        except (AutoReconnect, NetworkTimeout) as error:
            was_lost, reason = True, _first_line(error)
            continue
        if is_unsure:  # written, but by too few to be kept for certain
            was_lost, reason = True, "the write was not confirmed by a majority"
            continue
        unknown = _judge(writes, waiting, counts, errors, outcomes)
        if was_lost:  # what a request before this one did looks like somebody else's doing
            unknown += [i for i in waiting if outcomes.get(i) in (Outcome.DUPLICATE, Outcome.CONFLICT)]
        try:
            if unknown:
                await _settle(handle, shape, writes, unknown, stamp, outcomes, was_lost=was_lost)
        except (AutoReconnect, NetworkTimeout) as error:
            was_lost, reason, waiting = True, _first_line(error), unknown
            continue
        break
    else:
        if len(outcomes) == 0:
            raise StoreUnavailable(f"the document server went away: {reason}")
    return [outcomes.get(i, Outcome.IN_DOUBT) for i in range(len(writes))]


def _request(shape: Shape[Any], write: Prepared) -> Any:
    condition: dict[str, Any] = {"_id": write.key}
    if write.kind is Insert:
        assert write.raw is not None, "an insert has a document"
        return InsertOne(write.raw.body)
    if write.kind is Replace:
        assert write.raw is not None, "a replace has a document"
        condition[shape.revision] = write.raw.revision - 1
        if shape.epoch is not None:
            condition[shape.epoch] = {"$lte": write.raw.epoch}
        condition[SCHEMA] = {"$lte": shape.collection.schema}  # a newer version's document is not ours to change
        return ReplaceOne(condition, write.raw.body)
    if write.revision is not None:
        condition[shape.revision] = write.revision
    return DeleteOne(condition)


@dataclass(frozen=True, slots=True)
class _Counts:
    matched: int
    deleted: int


async def _send(handle: Handle, requests: Sequence[Any]) -> tuple[_Counts, dict[int, Mapping[str, Any]], bool]:
    """What took effect, what failed by place, and whether it may be undone again."""
    try:
        result = await handle.bulk_write(requests, ordered=False)
        return _Counts(result.matched_count, result.deleted_count), {}, False
    except BulkWriteError as error:
        details = error.details or {}
        errors = {fault["index"]: fault for fault in details.get("writeErrors", ())}
        counts = _Counts(details.get("nMatched", 0), details.get("nRemoved", 0))
        return counts, errors, bool(details.get("writeConcernErrors"))


def _judge(
    writes: Sequence[Prepared],
    sent: Sequence[int],
    counts: _Counts,
    errors: Mapping[int, Mapping[str, Any]],
    outcomes: dict[int, Outcome],
) -> list[int]:
    """Note the outcomes that an answer decides; those it leaves open."""
    replaces, deletes = [], []
    for place, i in enumerate(sent):
        fault = errors.get(place)
        if fault is not None and fault.get("code") == _DUPLICATE_KEY:
            outcomes[i] = Outcome.DUPLICATE
        elif fault is not None:
            # Its message may show the document; its code does not. 121: the collection's validator.
            logger.error("a write was refused by the document server with code %s", fault.get("code"))
            outcomes[i] = Outcome.FAILED
        elif writes[i].kind is Insert:
            outcomes[i] = Outcome.APPLIED
        elif writes[i].kind is Replace:
            replaces.append(i)
        else:
            deletes.append(i)
    unknown = []
    if counts.matched in (0, len(replaces)):
        outcomes.update(dict.fromkeys(replaces, Outcome.APPLIED if counts.matched else Outcome.CONFLICT))
    else:
        unknown += replaces
    if counts.deleted == len(deletes):
        outcomes.update(dict.fromkeys(deletes, Outcome.APPLIED))
    else:
        unguarded = [i for i in deletes if writes[i].revision is None]
        outcomes.update(dict.fromkeys(unguarded, Outcome.APPLIED))  # what is not there is deleted
        unknown += [i for i in deletes if writes[i].revision is not None]
    return unknown


async def _settle(
    handle: Handle,
    shape: Shape[Any],
    writes: Sequence[Prepared],
    which: Sequence[int],
    stamp: int,
    outcomes: dict[int, Outcome],
    *,
    was_lost: bool,
) -> list[int]:
    """Read the documents and note what they tell; those whose write has had no effect so far and still may."""
    wanted = {STAMP: 1, SCHEMA: 1, shape.revision: 1}
    cursor = handle.find({"_id": {"$in": [writes[i].key for i in which]}}, wanted)
    stored = {one["_id"]: one for one in await cursor.to_list(None)}
    waiting = []
    for i in which:
        outcome = _told(writes[i], stored.get(writes[i].key), shape, stamp, was_lost)
        if outcome is None:
            waiting.append(i)
        else:
            outcomes[i] = outcome
    return waiting


def _told(
    write: Prepared, stored: Mapping[str, Any] | None, shape: Shape[Any], stamp: int, was_lost: bool
) -> Outcome | None:
    """What a document that is read afterwards tells of a write; None: the write can still take effect."""
    revision = shape.revision
    if write.kind is Delete:
        if stored is None:
            return Outcome.APPLIED
        is_open = was_lost and write.revision in (None, stored[revision])
        return None if is_open else Outcome.CONFLICT
    if stored is not None and stored.get(STAMP) == stamp:
        return Outcome.APPLIED
    assert write.raw is not None, "only a delete has no document"
    mine = write.raw.revision
    if write.kind is Insert:
        if stored is None:
            return None if was_lost else Outcome.IN_DOUBT  # inserted and deleted since, or a duplicate that is gone
        return Outcome.IN_DOUBT if was_lost and stored[revision] > mine else Outcome.DUPLICATE
    if stored is None or shape.is_newer(stored) or stored[revision] < mine - 1:
        return Outcome.CONFLICT
    if stored[revision] == mine - 1:
        return None if was_lost else Outcome.CONFLICT
    # Somebody wrote on top: of ours, or of another's that was faster.
    return Outcome.IN_DOUBT if stored[revision] > mine else Outcome.CONFLICT


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0].split(", Timeout:", 1)[0]
