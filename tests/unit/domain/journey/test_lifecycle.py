"""The journey's table of states and verbs, over the full product."""

from itertools import product

import pytest

from services.domain.errors import Kind, NotNow
from services.domain.journey.lifecycle import TRANSITIONS, IllegalTransition, State, Verb, advance, is_allowed

ALLOWED = sorted(TRANSITIONS)
REFUSED = sorted(set(product(State, Verb)) - TRANSITIONS.keys())


@pytest.mark.parametrize(("state", "verb"), ALLOWED)
def test_a_verb_with_a_row_leads_where_the_row_says(state: State, verb: Verb) -> None:
    """The table is the whole truth."""
    assert is_allowed(state, verb)
    assert TRANSITIONS[state, verb] == advance(state, verb)


@pytest.mark.parametrize(("state", "verb"), REFUSED)
def test_a_verb_without_a_row_is_refused(state: State, verb: Verb) -> None:
    """Whatever the table does not list raises, naming the state and the verb."""
    assert not is_allowed(state, verb)
    with pytest.raises(IllegalTransition, match=f"{verb} a journey that is {state}") as refusal:
        advance(state, verb)

    assert isinstance(refusal.value, NotNow)
    assert (Kind.NOT_NOW, "illegal_transition") == (refusal.value.kind, refusal.value.reason)


@pytest.mark.parametrize(("state", "verb"), ALLOWED)
def test_asking_twice_is_asking_once(state: State, verb: Verb) -> None:
    """Callers retry, so a verb that succeeded succeeds again and changes nothing more."""
    once = advance(state, verb)

    assert once == advance(once, verb)


def test_publishing_a_paused_journey_leaves_it_paused() -> None:
    """A new version must not start executions that the author has stopped."""
    assert State.PAUSED == advance(State.PAUSED, Verb.PUBLISH)


def test_a_draft_is_neither_paused_nor_resumed() -> None:
    """It was never published, so nothing runs that could be stopped."""
    assert {Verb.PAUSE, Verb.RESUME} == {verb for state, verb in REFUSED if state is State.DRAFT}


def test_nothing_leaves_the_archive() -> None:
    """Archiving is final; only archiving again is harmless."""
    assert {State.ARCHIVED} == {advance(State.ARCHIVED, verb) for verb in Verb if is_allowed(State.ARCHIVED, verb)}
    assert set(Verb) - {Verb.ARCHIVE} == {verb for state, verb in REFUSED if state is State.ARCHIVED}


def test_only_archiving_makes_an_archive() -> None:
    """No other verb ends a journey."""
    assert {Verb.ARCHIVE} == {verb for (_, verb), state in TRANSITIONS.items() if state is State.ARCHIVED}
