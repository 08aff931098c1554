"""Documents that a newer version of this program wrote: met while it is updated, or after it was taken back.

Law: whoever finds one says so, once for each document. Whoever must not take it for absent asks within `refused`;
everybody else goes on without it, and it is never written over.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from services.infra.documents.port import NewerDocument

MOST_TOLD = 10_000  # documents that are remembered as told; with more than that some are told again

logger = logging.getLogger(__name__)
_is_refused: ContextVar[bool] = ContextVar("newer_documents_are_refused", default=False)
_told: dict[tuple[str, str], None] = {}


@contextmanager
def refused() -> Iterator[None]:
    """Within this, also in tasks begun here, a read that meets a newer document raises NewerDocument."""
    token = _is_refused.set(True)
    try:
        yield
    finally:
        _is_refused.reset(token)


def is_refused() -> bool:
    """Whether this is asked within `refused`."""
    return _is_refused.get()


def met(collection: str, key: str) -> NewerDocument:
    """Tell of a newer document; the error for whoever asked for it alone."""
    name = (collection, key)
    if name not in _told:
        while len(_told) >= MOST_TOLD:
            _told.pop(next(iter(_told)), None)
        _told[name] = None
        logger.error(
            "a document of %s was written by a newer version of this program and is left alone: %r", collection, key
        )
    return NewerDocument(collection, key)


def pass_over(collection: str, key: str) -> None:
    """Tell of a newer document among others. Raises NewerDocument within `refused`."""
    error = met(collection, key)
    if _is_refused.get():
        raise error


def forget_what_was_told() -> None:
    """Tell of every document again: for tests, each of which listens for itself."""
    _told.clear()
