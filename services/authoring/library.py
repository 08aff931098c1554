"""What the three kinds of library object have in common: how one is made and how one is changed.

Law: a write is guarded; a change that meets another one is made again on top of it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from services.authoring.changes import refusal
from services.authoring.names import candidates, slug
from services.domain.errors import Duplicate, Fault
from services.infra.documents.port import DuplicateKey

T = TypeVar("T")


async def made(
    given: str | None, prefix: str, name: str, make: Callable[[str], T], insert: Callable[[T], Awaitable[Any]]
) -> T:
    """Insert an object under the id that was given, or under a free one made from its name. Raises Duplicate."""
    for candidate in (given,) if given is not None else candidates(f"{prefix}-{slug(name, 'new')[:48]}".rstrip("-")):
        document = make(candidate)
        try:
            await insert(document)
            return document
        except DuplicateKey:
            continue
    raise Duplicate("id_taken", f"The id {given or prefix!r} is taken.")


def refuse(faults: Sequence[Fault]) -> None:
    """Raise Invalid if there are faults."""
    if faults:
        raise refusal(faults)
