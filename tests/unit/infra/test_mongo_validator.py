"""What the document server asks of a document's head."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from services.infra.documents.mongo_shape import Shape
from services.infra.documents.mongo_validator import validator_of, would_refuse
from services.infra.documents.port import Collection, Index
from services.migrate import COLLECTIONS
from tests.support.bson_schema import faults, stored


class Task(msgspec.Struct, frozen=True):
    """Something to do, in a lane, perhaps at a time."""

    key: str
    lane: int
    owner: str = ""
    due_at: int | None = None
    revision: int = 1
    epoch: int = 0
    anything: Any = None


TASKS = Collection("tasks", Task, epoch="epoch", indexes=(Index("due", ("lane", "due_at")), Index("by", ("owner",))))
GOOD = Task("a", 3, "ann", 7)


def without(name: str) -> dict[str, Any]:
    """A good document without a field."""
    raw = stored(TASKS, GOOD)
    del raw[name]
    return raw


@pytest.mark.parametrize(
    "task",
    [
        GOOD,
        Task("a", 3),
        Task("a", 1 << 62, anything={"due_at": "soon", "lane": None}),
        Task("a", 3, anything=1 << 63),  # goes in whole, beside its head
    ],
)
def test_what_we_write_is_let_in(task: Task) -> None:
    """Whatever the body holds: it is nobody's business here."""
    assert [] == faults(TASKS, stored(TASKS, task))


@pytest.mark.parametrize("name", ["_id", "_schema", "_stamp", "revision", "epoch", "lane"])
def test_a_head_without_a_part_is_refused(name: str) -> None:
    """The guards, and the indexed fields that were there from the first."""
    assert 1 == len(faults(TASKS, without(name)))


@pytest.mark.parametrize("name", ["owner", "due_at", "anything"])
def test_what_may_be_absent_may_be_absent(name: str) -> None:
    """An optional field, a field with a default, whatever is in no index."""
    raw = stored(TASKS, Task("a", 3, "ann", 7, anything=1))
    del raw[name]

    assert [] == faults(TASKS, raw)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_id", 7),
        ("_schema", 0),
        ("_stamp", "x"),
        ("revision", 1.5),
        ("epoch", True),
        ("lane", "3"),
        ("owner", 3),
        ("due_at", None),
    ],
)
def test_a_head_of_other_types_is_refused(name: str, value: Any) -> None:
    """None as well: an indexed field that is None is left out."""
    assert faults(TASKS, {**stored(TASKS, GOOD), name: value})


def test_a_document_of_another_version_is_asked_for_its_guards_alone() -> None:
    """Older and newer programs write side by side while they are updated."""
    newer = dataclasses.replace(TASKS, schema=2)
    foreign = {**without("lane"), "owner": 3, "_schema": 2}

    assert ([], 1) == (faults(TASKS, foreign), len(faults(newer, foreign)))


def test_a_validator_that_asks_for_what_is_written_no_more_is_told() -> None:
    """So that `open` says that `migrate` has to come first, instead of writes that fail."""
    renamed = msgspec.defstruct("Renamed", [("key", str), ("rank", int), ("revision", int), ("epoch", int)])
    other: Collection[Any] = Collection("tasks", renamed, epoch="epoch", indexes=(Index("by", ("rank",)),))

    assert [True, False, False] == [
        would_refuse(validator_of(Shape(TASKS)), Shape(other)),
        would_refuse(validator_of(Shape(TASKS)), Shape(dataclasses.replace(TASKS, indexes=()))),
        would_refuse({}, Shape(other)),
    ]


def indexed() -> Iterator[Any]:
    """Every indexed field of every collection of the product."""
    for collection in COLLECTIONS:
        for field in sorted({field for index in collection.indexes for field in index.fields}):
            yield pytest.param(collection, field, id=f"{collection.name}.{field}")


@pytest.mark.parametrize(("collection", "field"), list(indexed()))
def test_every_indexed_field_of_the_product_is_asked_for_its_type(collection: Collection[Any], field: str) -> None:
    """A list is neither a string nor an integer, and no scan would find it."""
    shape = Shape(collection)
    schema = validator_of(shape)["$jsonSchema"]
    asked = {**schema["properties"], **schema.get("anyOf", [{}])[0].get("properties", {})}

    assert asked[shape.name_of(field)]["bsonType"] in ("string", ["int", "long"])
