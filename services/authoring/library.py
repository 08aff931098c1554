"""What the three kinds of library object have in common: how one is made and how one is changed.

Law: a write is guarded; a change that meets another one is made again on top of it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from services.authoring.changes import refusal
from services.authoring.names import candidates, slug
from services.domain.errors import Duplicate, Fault
from services.infra.documents.port import DuplicateKey


class Made(Protocol):
    """An object with the key of the request that made it; "" where that request cannot be repeated."""

    @property
    def made_by(self) -> str: ...


T = TypeVar("T", bound=Made)


async def made(
    given: str | None,
    prefix: str,
    name: str,
    make: Callable[[str], T],
    insert: Callable[[T], Awaitable[Any]],
    held: Callable[[T], Awaitable[T | None]],
) -> T:
    """Insert an object under the id that was given, or under a free one made from its name. Raises Duplicate.

    `held` reads what has a document's key. Was it made by the same request, which is repeated, it is what is wanted.
    """
    base = f"{prefix}-{slug(name, 'new')[:48]}".rstrip("-")
    for candidate in (given,) if given is not None else candidates(base, make(base).made_by):
        document = make(candidate)
        try:
            await insert(document)
            return document
        except DuplicateKey:
            if document.made_by and (there := await held(document)) and there.made_by == document.made_by:
                return there
    raise Duplicate("id_taken", f"The id {given or prefix!r} is taken.")


def refuse(faults: Sequence[Fault]) -> None:
    """Raise Invalid if there are faults."""
    if faults:
        raise refusal(faults)
