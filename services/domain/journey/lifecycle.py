"""The life of a journey, as a table.

Law: every change of a journey's state is a row here; nothing else assigns it. A verb without a row is refused
and leaves the journey as it was. A verb that asks for the state already held is a no-op, because callers retry.
Source: contract 2.
"""

from enum import StrEnum

from services.domain.errors import NotNow


class State(StrEnum):
    """Where a journey is in its life: the public `status`."""

    DRAFT = "draft"  # never published
    PUBLISHED = "published"
    PAUSED = "paused"
    ARCHIVED = "archived"


class Verb(StrEnum):
    """What an author may ask of a journey."""

    EDIT = "edit"
    PUBLISH = "publish"
    PAUSE = "pause"
    RESUME = "resume"
    ARCHIVE = "archive"


TRANSITIONS: dict[tuple[State, Verb], State] = {
    **{(state, Verb.EDIT): state for state in State if state is not State.ARCHIVED},  # editing opens a draft
    (State.DRAFT, Verb.PUBLISH): State.PUBLISHED,
    (State.PUBLISHED, Verb.PUBLISH): State.PUBLISHED,  # the next version
    (State.PAUSED, Verb.PUBLISH): State.PAUSED,  # publishing must not wake it
    (State.PUBLISHED, Verb.PAUSE): State.PAUSED,
    (State.PAUSED, Verb.PAUSE): State.PAUSED,
    (State.PAUSED, Verb.RESUME): State.PUBLISHED,
    (State.PUBLISHED, Verb.RESUME): State.PUBLISHED,
    **{(state, Verb.ARCHIVE): State.ARCHIVED for state in State},
}


class IllegalTransition(NotNow):
    """The table has no row for this verb in this state."""

    def __init__(self, state: State, verb: Verb) -> None:
        super().__init__("illegal_transition", f"It is not possible to {verb} a journey that is {state}.")
        self.state = state
        self.verb = verb


def advance(state: State, verb: Verb) -> State:
    """Return the state after `verb`; raise IllegalTransition if the table has no row."""
    try:
        return TRANSITIONS[state, verb]
    except KeyError:
        raise IllegalTransition(state, verb) from None


def is_allowed(state: State, verb: Verb) -> bool:
    """Whether the table has a row."""
    return (state, verb) in TRANSITIONS
