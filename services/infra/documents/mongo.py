"""The document store over MongoDB.

Law: every promise rests on what one document can do: a write under a guard, confirmed by a majority and in their
journals. No transaction, no change stream, no script, no collation, so that whatever speaks the protocol and keeps
to single documents will do. The driver repeats no write by itself: what became of one whose answer was lost is
found out by reading (see `mongo_writes`). The only user of motor; its successor is PyMongo's own async client.
"""

import asyncio
import heapq
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from services.infra.documents import newer
from services.infra.documents.cursor import read_cursor, write_cursor
from services.infra.documents.mongo_shape import CODEC, Filter, Order, Shape
from services.infra.documents.mongo_validator import ACTION, LEVEL, validator_of, would_refuse
from services.infra.documents.mongo_writes import Prepared, apply
from services.infra.documents.port import (
    BadCursor,
    Collection,
    Delete,
    DuplicateKey,
    Index,
    Insert,
    NotMigrated,
    Outcome,
    Page,
    Replace,
    StaleRevision,
    StoreUnavailable,
    Value,
    Write,
)

T = TypeVar("T")
R = TypeVar("R")

DATABASE = "journeys"  # where the URI names none
KEYS_AT_ONCE = 1_000
SELECTION_MS = 5_000  # how long a call waits for a server to be there
SOCKET_MS = 15_000  # and for its answer: then it counts as lost
_NO_NAMESPACE = 26
_LEAST = -(1 << 63)
_UNKNOWN = (59, 72, 115, 238, 40415)  # no such command, option or member, or not supported: a server without validators

logger = logging.getLogger(__name__)


class MongoDocuments:
    """Documents in a database of a MongoDB deployment; made within the loop that uses it.

    `open` makes nothing: it raises NotMigrated where `migrate` has not been run. A collection that was not opened is
    a LookupError, an index it does not have a ValueError. No write of ours takes the place of a document of a newer
    schema, since none knows its revision.
    """

    def __init__(self, uri: str, database: str | None = None) -> None:
        self._client: Any = AsyncIOMotorClient(
            uri,
            serverSelectionTimeoutMS=SELECTION_MS,
            connectTimeoutMS=SELECTION_MS,
            socketTimeoutMS=SOCKET_MS,
            retryWrites=False,
            retryReads=True,
        )
        named = self._client.get_default_database(DATABASE).name if database is None else database
        self._database: Any = self._client.get_database(
            named,
            codec_options=CODEC,
            write_concern=WriteConcern(w="majority", j=True),
            read_concern=ReadConcern("majority"),  # nothing is acted upon that an election could take back
        )
        self._shapes: dict[str, Shape[Any]] = {}
        self._seeks_many: bool | None = None
        self._seeks_any: bool | None = None

    # -- making known

    async def open(self, collections: Sequence[Collection[Any]]) -> None:
        """See the port. Looks, and changes nothing."""
        shapes = [Shape(collection) for collection in collections]
        missing = [line for shape in shapes for line, _ in await self._differences(shape)]
        missing += [
            f"the validator of {shape.collection.name} as it is now"
            for shape in shapes
            if would_refuse((await self._options_of(shape.collection.name)).get("validator", {}), shape)
        ]
        if missing:
            raise NotMigrated(f"run `journeys migrate` first: the store lacks {', '.join(missing)}")
        self._shapes.update({shape.collection.name: shape for shape in shapes})
        if self._seeks_many is None:
            self._seeks_many = await self._can_seek_many(shapes)
            self._seeks_any = await self._can_seek_any(shapes)

    async def _can_seek_many(self, shapes: Sequence[Shape[Any]]) -> bool | None:
        """Whether the server finds several places of an index in one question, as MongoDB does, or reads everything.

        None: no collection to ask about yet.
        """
        for shape in shapes:
            for index in shape.indexes.values():
                field = shape.fields_of(index.name)[0]
                cursor = self._database[shape.collection.name].find({field: {"$in": ["a", "b"]}})
                plan = await self._asked(cursor.explain)
                return "COLLSCAN" not in str(plan.get("queryPlanner", {}).get("winningPlan"))
        return None

    async def _can_seek_any(self, shapes: Sequence[Shape[Any]]) -> bool | None:
        """Whether the server finds what fits any of several conditions through an index, as MongoDB does, or reads
        everything: seconds for 2,000 documents of a stand-in.
        """
        for shape in shapes:
            for index in shape.indexes.values():
                first, second, *_ = shape.fields_of(index.name)
                either = [{first: "a", second: {"$lt": "a"}}, {first: "b", second: {"$lt": "a"}}]
                cursor = self._database[shape.collection.name].find({"$or": either}).sort(second)
                plan = await self._asked(cursor.explain)
                return "COLLSCAN" not in str(plan.get("queryPlanner", {}).get("winningPlan"))
        return None

    async def migrate(self, collections: Sequence[Collection[Any]]) -> list[str]:
        """See the port. An index that changed is built anew; readers that ask for it wait for their next start."""
        changed = []
        without: list[str] = []
        for collection in collections:
            shape = Shape(collection)
            for line, index in await self._differences(shape):
                await self._bring_up(shape, index)
                changed.append(f"made {line}")
            changed += await self._drop_former(shape)
            match await self._validate(shape):
                case True:
                    changed.append(f"made the validator of {collection.name}")
                case None:
                    without.append(collection.name)
        if without:
            changed.append(f"this document server keeps no validators: {', '.join(without)} go without")
        return changed

    async def _validate(self, shape: Shape[Any]) -> bool | None:
        """See that the server asks of every document what the collection does; whether that changed anything.

        None: it keeps no validators. Those guard against others' mistakes, so the work goes on without.
        """
        name = shape.collection.name
        wanted = {"validator": validator_of(shape), "validationLevel": LEVEL, "validationAction": ACTION}
        options = await self._options_of(name)
        if {**options, **wanted} == options:
            return False
        try:
            await self._asked(lambda: self._database.command({"collMod": name, **wanted}))
        except StoreUnavailable as error:
            if isinstance(error.__cause__, OperationFailure) and error.__cause__.code in _UNKNOWN:
                return None
            raise
        return True if (await self._options_of(name)).get("validator") == wanted["validator"] else None

    async def _options_of(self, name: str) -> dict[str, Any]:
        cursor = await self._asked(lambda: self._database.list_collections(filter={"name": name}))
        found = await self._asked(lambda: cursor.to_list(None))
        return dict(found[0].get("options", {})) if found else {}

    async def _differences(self, shape: Shape[Any]) -> list[tuple[str, Index | None]]:
        """What has to be made: a line about it, and the index (None: the collection itself)."""
        name = shape.collection.name
        stored = await self._stored_indexes(name)
        found: list[tuple[str, Index | None]] = [] if stored is not None else [(f"the collection {name}", None)]
        known = stored or {}
        found += [
            (f"the index {index.name} of {name}", index)
            for index in shape.indexes.values()
            if known.get(shape.hint_of(index.name)) != shape.definition_of(index)
        ]
        return found

    async def _stored_indexes(self, name: str) -> dict[str, Order] | None:
        names = await self._asked(lambda: self._database.list_collection_names(filter={"name": name}))
        if name not in names:
            return None
        try:
            known = await self._asked(self._database[name].index_information)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, OperationFailure) and error.__cause__.code == _NO_NAMESPACE:
                return None
            raise
        return {index: [(field, int(way)) for field, way in about["key"]] for index, about in known.items()}

    async def _bring_up(self, shape: Shape[Any], index: Index | None) -> None:
        name = shape.collection.name
        if index is None:
            # Of two that migrate at once the slower finds it there, which is what both want.
            await self._asked(lambda: self._database.create_collection(name), but=48)
            return
        hint = shape.hint_of(index.name)
        if hint in (await self._stored_indexes(name) or {}):
            await self._asked(lambda: self._database[name].drop_index(hint))
        await self._asked(lambda: self._database[name].create_index(shape.definition_of(index), name=hint))

    async def _drop_former(self, shape: Shape[Any]) -> list[str]:
        name = shape.collection.name
        ours = {shape.hint_of(index) for index in shape.indexes}
        former = [
            index
            for index in await self._stored_indexes(name) or {}
            if index.startswith(shape.hint_of(" ").strip()) and index not in ours
        ]
        for index in former:
            await self._asked(partial(self._database[name].drop_index, index))
        return [f"dropped the former index {index} of {name}" for index in former]

    # -- reading

    async def get(self, collection: Collection[T], key: str) -> T | None:
        """See the port."""
        shape = self._shape(collection)
        stored = await self._asked(lambda: self._database[collection.name].find_one({"_id": key}))
        if stored is not None and shape.is_newer(stored):
            raise newer.met(collection.name, key)
        return self._read(shape, stored)

    async def get_many(self, collection: Collection[T], keys: Sequence[str]) -> dict[str, T]:
        """See the port."""
        shape = self._shape(collection)
        distinct = list(dict.fromkeys(keys))
        found: dict[str, T] = {}
        for start in range(0, len(distinct), KEYS_AT_ONCE):
            part = distinct[start : start + KEYS_AT_ONCE]
            for document in await self._find(shape, {"_id": {"$in": part}}):
                found[getattr(document, collection.key)] = document
        return found

    async def scan(
        self,
        collection: Collection[T],
        index: str,
        equals: Sequence[Value] = (),
        *,
        low: Value | None = None,
        high: Value | None = None,
        after: str | None = None,
        limit: int = 100,
        descending: bool = False,
    ) -> Page[T]:
        """See the port. A cursor is bound to collection, index, `equals` and direction."""
        shape = self._shape(collection)
        rest = shape.rest_of(index, equals)
        if limit < 1:
            raise ValueError(f"a page holds at least one document, not {limit}")
        name = (collection.name, index, tuple(equals), descending)
        position = None if after is None else read_cursor(after, name)
        if position is not None and len(position) != len(rest):
            raise BadCursor("this cursor was made for an index of other fields")
        condition = shape.range_filter(index, equals, low, high, position, descending)
        found = await self._find_raw(shape, condition, rest, limit + 1, descending=descending)
        # The cursor is of what is stored: a document passed over still marks how far the page came.
        last = found[limit - 1] if len(found) > limit else None
        cursor = None if last is None else write_cursor(name, [last[field] for field in rest])
        return Page([one for one in (self._read(shape, raw) for raw in found[:limit]) if one is not None], cursor)

    async def scan_prefixes(
        self,
        collection: Collection[T],
        index: str,
        prefixes: Sequence[Sequence[Value]],
        *,
        low: int | None = None,
        high: int,
        limit: int,
    ) -> list[T]:
        """See the port. The prefixes have one length."""
        if not prefixes:
            return []
        shape = self._shape(collection)
        known = await self._known_under_prefixes(shape, index, prefixes, low, high, limit)
        return [shape.document_of(raw) for raw in known]

    async def least(self, collection: Collection[T], index: str, prefixes: Sequence[Sequence[Value]]) -> int | None:
        """See the port. The prefixes have one length."""
        if not prefixes:
            return None
        shape = self._shape(collection)
        found = await self._known_under_prefixes(shape, index, prefixes, _LEAST, None, 1)
        return found[0][shape.rest_of(index, prefixes[0])[0]] if found else None

    async def _known_under_prefixes(
        self,
        shape: Shape[Any],
        index: str,
        prefixes: Sequence[Sequence[Value]],
        low: int | None,
        high: int | None,
        limit: int,
    ) -> list[dict[str, Any]]:
        """Stored documents of ours under any of the prefixes, least first."""
        asked = limit
        while True:
            raws = await self._under_prefixes(shape, index, prefixes, low, high, asked)
            known = [raw for raw in raws if self._is_known(shape, raw)]
            if len(known) >= limit or len(raws) < asked:
                return known[:limit]
            asked = 2 * asked + KEYS_AT_ONCE  # those of a newer version must not hide whoever is due behind them

    async def _under_prefixes(
        self,
        shape: Shape[Any],
        index: str,
        prefixes: Sequence[Sequence[Value]],
        low: int | None,
        high: int | None,
        limit: int,
    ) -> list[dict[str, Any]]:
        """Stored documents under any of the prefixes, least first."""
        condition = shape.prefix_filter(index, prefixes, low, high)
        rest = shape.rest_of(index, prefixes[0])
        if self._seeks_any:
            return await self._find_raw(shape, condition, rest, limit)
        parts = await asyncio.gather(*(self._find_raw(shape, one, rest, limit) for one in condition["$or"]))
        return list(heapq.merge(*parts, key=lambda raw: [_rank(raw[field]) for field in rest]))[:limit]

    async def scan_many(
        self,
        collection: Collection[T],
        index: str,
        queries: Sequence[tuple[Sequence[Value], Value | None]],
        *,
        limit: int,
    ) -> list[list[T]]:
        """See the port. One question for all queries that differ in their first field and bound alone."""
        shape = self._shape(collection)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, (equals, low) in enumerate(queries):
            shape.rest_of(index, equals)
            name = (len(equals), tuple(equals[1:]), low is None) if self._seeks_many else (place,)
            groups.setdefault(name, []).append(place)
        found: list[list[T]] = [[] for _ in queries]
        answers = [
            self._scan_group(shape, index, [queries[place] for place in places], limit) for places in groups.values()
        ]
        for places, parts in zip(groups.values(), await asyncio.gather(*answers), strict=True):
            for place, part in zip(places, parts, strict=True):
                found[place] = part
        return found

    async def _scan_group(
        self,
        shape: Shape[T],
        index: str,
        queries: Sequence[tuple[Sequence[Value], Value | None]],
        limit: int,
    ) -> list[list[T]]:
        """Queries of one shape: asked together, and told apart here."""
        equals = queries[0][0]
        firsts = list(dict.fromkeys(query[0] for query, _ in queries if query))
        fields = shape.fields_of(index)
        rest = shape.rest_of(index, equals)
        if len(firsts) > 1:
            lows: list[Any] = [bound for _, bound in queries if bound is not None]
            condition = shape.range_filter(index, equals, min(lows, default=None))
            condition[fields[0]] = {"$in": firsts}
            most = limit * len(firsts)
            found = await self._find_raw(shape, condition, fields, most + 1)
            if len(found) <= most:
                return [self._part(shape, index, found, query, limit) for query in queries]
            # So many that some of the last ones are missing: one question each.
        parts = []
        for query, bound in queries:
            condition = shape.range_filter(index, query, bound)
            parts.append(await self._find(shape, condition, rest, limit))
        return parts

    def _part(
        self,
        shape: Shape[T],
        index: str,
        found: Sequence[Mapping[str, Any]],
        query: tuple[Sequence[Value], Value | None],
        limit: int,
    ) -> list[T]:
        equals, low = query
        first, field = shape.fields_of(index)[0], shape.rest_of(index, equals)[0]
        mine: list[T] = []
        for raw in found:
            if raw[first] == equals[0] and (low is None or raw[field] >= low) and len(mine) < limit:
                document = self._read(shape, dict(raw))
                if document is not None:
                    mine.append(document)
        return mine

    async def count_by(
        self, collection: Collection[T], index: str, equals: Sequence[Value] = ()
    ) -> Mapping[Value, int]:
        """See the port."""
        shape = self._shape(collection)
        field = shape.rest_of(index, equals)[0]
        stages = [
            {"$match": shape.range_filter(index, equals)},
            {"$group": {"_id": f"${field}", "n": {"$sum": 1}}},
        ]
        found = await self._asked(lambda: self._database[collection.name].aggregate(stages).to_list(None))
        return {one["_id"]: int(one["n"]) for one in found}

    # -- writing

    async def insert(self, collection: Collection[T], document: T) -> None:
        """See the port."""
        await self._write_one(Insert(collection, document), DuplicateKey)

    async def replace(self, collection: Collection[T], document: T) -> None:
        """See the port."""
        await self._write_one(Replace(collection, document), StaleRevision)

    async def delete(self, collection: Collection[T], key: str, revision: int | None = None) -> None:
        """See the port."""
        await self._write_one(Delete(collection, key, revision), StaleRevision)

    async def write_many(self, writes: Sequence[Write]) -> list[Outcome]:
        """See the port. FAILED is a document that cannot be encoded; the log says why."""
        if len({(write.collection.name, _key_of(write)) for write in writes}) < len(writes):
            raise ValueError("two writes to one key in one call")
        stamp = _new_stamp()
        outcomes = [Outcome.FAILED] * len(writes)
        by_collection: dict[str, tuple[list[int], list[Prepared]]] = {}
        for place, write in enumerate(writes):
            try:
                prepared = self._prepared(write, stamp)
            except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
                # One poisonous document must not keep the others of its batch from being written.
                logger.error(
                    "a document of %s cannot be stored: %s", write.collection.name, error
                )  # no trace: it would show the document
            else:
                places, bulk = by_collection.setdefault(write.collection.name, ([], []))
                places.append(place)
                bulk.append(prepared)
        answers = [self._apply(name, bulk, stamp) for name, (_, bulk) in by_collection.items()]
        # All are waited for, also where one fails: what is under way must not be repeated beside itself.
        results = await asyncio.gather(*answers, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            raise failures[0]
        for (places, _), result in zip(by_collection.values(), results, strict=True):
            assert isinstance(result, list), "failures were raised"
            for place, outcome in zip(places, result, strict=True):
                outcomes[place] = outcome
        return outcomes

    async def scrub(self) -> bool:
        """See the port: the server keeps its pages as it likes."""
        return False

    async def close(self) -> None:
        """See the port; what was acknowledged is with the server."""
        self._shapes.clear()
        await asyncio.to_thread(self._client.close)  # it says good-bye to the server, and waits for the answer

    async def _write_one(self, write: Write, refusal: type[Exception]) -> None:
        stamp = _new_stamp()
        (outcome,) = await self._apply(write.collection.name, [self._prepared(write, stamp)], stamp)
        match outcome:
            case Outcome.APPLIED:
                return
            case Outcome.CONFLICT | Outcome.DUPLICATE:
                raise refusal(f"{write.collection.name}: {_key_of(write)!r}")
            case _:
                raise StoreUnavailable(f"a write to {write.collection.name} is {outcome.value}")

    def _prepared(self, write: Write, stamp: int) -> Prepared:
        shape = self._shape(write.collection)
        if isinstance(write, Delete):
            return Prepared(Delete, write.key, write.revision, None)
        raw = shape.raw_of(write.document, stamp)
        return Prepared(type(write), raw.key, raw.revision, raw)

    async def _apply(self, name: str, bulk: Sequence[Prepared], stamp: int) -> list[Outcome]:
        outcomes: list[Outcome] = await self._asked(
            lambda: apply(self._database[name], self._shapes[name], bulk, stamp)
        )
        return outcomes

    # -- asking

    def _shape(self, collection: Collection[T]) -> Shape[T]:
        shape = self._shapes.get(collection.name)
        if shape is None:
            raise LookupError(f"the collection {collection.name!r} was not opened")
        return shape

    async def _find(
        self, shape: Shape[T], condition: Filter, order: Sequence[str] = (), limit: int | None = None
    ) -> list[T]:
        raws = await self._find_raw(shape, condition, order, limit)
        return [one for one in (self._read(shape, raw) for raw in raws) if one is not None]

    async def _find_raw(
        self,
        shape: Shape[Any],
        condition: Filter,
        order: Sequence[str],
        limit: int | None,
        *,
        descending: bool = False,
    ) -> list[dict[str, Any]]:
        """Stored documents in the order of an index: its equal fields, its range and its order choose it."""
        cursor = self._database[shape.collection.name].find(condition)
        if order:
            cursor = cursor.sort([(field, -1 if descending else 1) for field in order])
        if limit is not None:
            cursor = cursor.limit(limit)
        found: list[dict[str, Any]] = await self._asked(lambda: cursor.to_list(None))
        return found

    def _read(self, shape: Shape[T], stored: dict[str, Any] | None) -> T | None:
        return shape.document_of(stored) if stored is not None and self._is_known(shape, stored) else None

    def _is_known(self, shape: Shape[Any], stored: Mapping[str, Any]) -> bool:
        """Whether we may read it; one that is newer is told, or refused."""
        if not shape.is_newer(stored):
            return True
        newer.pass_over(shape.collection.name, stored["_id"])
        return False

    async def _asked(self, question: Callable[[], Awaitable[R]], but: int | None = None) -> Any:
        """Ask the driver. Raises StoreUnavailable for whatever it raises, except a failure with the code `but`."""
        try:
            return await question()
        except OperationFailure as error:
            if but is not None and error.code == but:
                return None
            raise StoreUnavailable(f"the document server refuses: {str(error).partition(', full error')[0]}") from error
        except PyMongoError as error:
            raise StoreUnavailable(
                f"no answer from the document server: {str(error).partition(', Timeout:')[0]}"
            ) from error


def _key_of(write: Write) -> str:
    key: str = write.key if isinstance(write, Delete) else getattr(write.document, write.collection.key)
    return key


def _rank(value: Value) -> tuple[bool, Any]:
    """Where a value stands in MongoDB's order: numbers before texts."""
    return isinstance(value, str), value


def _new_stamp() -> int:
    return secrets.randbits(63)
