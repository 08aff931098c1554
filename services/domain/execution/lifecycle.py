"""The life of an execution, as a table.

Law: a status changes only along a row here. A trigger without a row is absorbed: the execution stays as it
was. REFUSED and HOLDOUT are decisions kept as executions that never run, so that one unique key is one decision.
"""

from enum import StrEnum


class Status(StrEnum):
    """Where an execution stands. The last two are internal and never listed."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    ABORTED = "ABORTED"
    REFUSED = "REFUSED"
    HOLDOUT = "HOLDOUT"


class Cause(StrEnum):
    """The kinds of triggers the planner knows."""

    START = "start"
    EVENT = "event"
    TIMER = "timer"
    SETTLED = "settled"
    PROFILE = "profile"
    ABORT = "abort"
    RETRY = "retry"


_WALKS = (Status.RUNNING, Status.SUCCEEDED, Status.FAILED)

# None as the former status: there was no execution.
TRANSITIONS: dict[tuple[Status | None, Cause], tuple[Status, ...]] = {
    (None, Cause.START): (*_WALKS, Status.REFUSED, Status.HOLDOUT),
    # ABORTED: the journey was archived meanwhile, and whatever touches the execution ends it.
    (Status.RUNNING, Cause.EVENT): (*_WALKS, Status.ABORTED),
    (Status.RUNNING, Cause.TIMER): (*_WALKS, Status.TIMED_OUT, Status.ABORTED),
    (Status.RUNNING, Cause.SETTLED): _WALKS,  # a send with onFailure "fail" decides what follows
    (Status.RUNNING, Cause.PROFILE): _WALKS,
    (Status.RUNNING, Cause.ABORT): (Status.ABORTED,),
    (Status.RUNNING, Cause.RETRY): _WALKS,
    (Status.FAILED, Cause.RETRY): _WALKS,
    # Ended executions take goals within their window and late results, and stay as they are.
    (Status.SUCCEEDED, Cause.EVENT): (Status.SUCCEEDED,),
    (Status.FAILED, Cause.EVENT): (Status.FAILED,),
    (Status.TIMED_OUT, Cause.EVENT): (Status.TIMED_OUT,),
    (Status.ABORTED, Cause.EVENT): (Status.ABORTED,),
    (Status.HOLDOUT, Cause.EVENT): (Status.HOLDOUT,),
    # ... and the sends they promised are claimed when their turn comes.
    (Status.SUCCEEDED, Cause.TIMER): (Status.SUCCEEDED,),
    (Status.FAILED, Cause.TIMER): (Status.FAILED,),
    (Status.TIMED_OUT, Cause.TIMER): (Status.TIMED_OUT,),
    (Status.SUCCEEDED, Cause.SETTLED): (Status.SUCCEEDED,),
    (Status.FAILED, Cause.SETTLED): (Status.FAILED,),
    (Status.TIMED_OUT, Cause.SETTLED): (Status.TIMED_OUT,),
    (Status.ABORTED, Cause.SETTLED): (Status.ABORTED,),
    (Status.REFUSED, Cause.SETTLED): (Status.REFUSED,),
    (Status.HOLDOUT, Cause.SETTLED): (Status.HOLDOUT,),
}


def can_follow(before: Status | None, cause: Cause, after: Status) -> bool:
    """Whether the table has that row."""
    return after in TRANSITIONS.get((before, cause), ())
