"""Work that can wait: whoever works patiently lets everybody else go first.

Law: patience changes when something is done, and nothing else. It holds for the task it is declared in and for those
that task starts; machinery that has one queue for all looks at it, other machinery need not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_patient: ContextVar[bool] = ContextVar("patient", default=False)


@contextmanager
def patiently() -> Iterator[None]:
    """What is asked of stores and logs in here can wait."""
    token = _patient.set(True)
    try:
        yield
    finally:
        _patient.reset(token)


def is_patient() -> bool:
    """Whether the running task can wait."""
    return _patient.get()
