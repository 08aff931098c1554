"""Journeys that watch their audience: who may belong otherwise now, and what has to be looked at for it."""

from services.domain.execution.version import Version
from services.domain.journey.model import And, Compare, EventFired, InSegment, Operator, Predicate, Root
from services.domain.journey.predicate import Audience
from services.runtime.watches import Digests, Watch, belonging_of, watches_of
from tests.support.walking import EXIT, TRIGGER, version_of

ENTRY = {"id": "t", "type": "trigger", "mode": "audience_entry", "next": "exit"}
PRO = Compare(Root.ATTRIBUTE, ("plan",), Operator.EQUALS, "pro")


def watch(audiences: dict[str, Audience], since: int = 1, digests: Digests | None = None) -> Watch:
    """The watch of a journey over the audience `a`."""
    version = version_of([ENTRY, EXIT], audience_id="a")
    (found,) = watches_of([(version, since)], audiences.get, {} if digests is None else digests)
    return found


def named(**predicates: Predicate) -> dict[str, Audience]:
    """Audiences by predicate."""
    return {name: Audience(predicate) for name, predicate in predicates.items()}


def test_only_versions_that_people_enter_by_membership_watch() -> None:
    """With an audience to be a member of."""
    versions: list[Version] = [
        version_of([{**TRIGGER, "next": "exit"}, EXIT], audience_id="a"),
        version_of([ENTRY, EXIT]),
        version_of([EXIT], audience_id="a"),
    ]

    assert () == watches_of([(version, 1) for version in versions], named().get, {})


def test_its_fingerprint_is_who_belongs() -> None:
    """The same for the same audiences; another with another predicate, inside as well, or another list."""
    plain = watch(named(a=PRO)).fingerprint
    nested = watch(named(a=InSegment("b"), b=PRO)).fingerprint
    listed = watch({"a": Audience(subject_ids=frozenset({"x", "y"}))}).fingerprint

    assert plain == watch(named(a=PRO, other=And(()))).fingerprint
    assert plain != watch(named(a=And((PRO,)))).fingerprint
    assert nested != watch(named(a=InSegment("b"), b=And((PRO,)))).fingerprint
    assert listed == watch({"a": Audience(subject_ids=frozenset({"y", "x"}))}).fingerprint
    assert listed != watch({"a": Audience(subject_ids=frozenset({"x"}))}).fingerprint
    assert plain != watch(named(a=PRO), since=2).fingerprint


def test_an_audience_that_did_not_change_is_not_hashed_again() -> None:
    """Its list may be long."""
    digests: Digests = {}
    audiences = named(a=PRO)
    before = watch(audiences, digests=digests).fingerprint
    digests["a"] = audiences["a"], "kept"

    assert before != watch(audiences, digests=digests).fingerprint
    assert before == watch(named(a=PRO), digests=digests).fingerprint


def test_what_is_looked_at_when() -> None:
    """Profiles where a predicate reads any, events where a window counts them."""
    audiences = {**named(a=And((InSegment("b"), EventFired("x", 7))), b=EventFired("y", None)), "l": Audience()}
    who = belonging_of("a", audiences.get)

    assert {"x"} == who.event_names
    assert who.reads_profiles
    assert not belonging_of("l", audiences.get).reads_profiles


def test_nobody_can_say_who_belongs_where_an_audience_is_missing() -> None:
    """The watched one, or one inside it; or where they lead in a circle."""
    assert "audience_not_found" == belonging_of("a", named().get).fault
    assert "audience_not_found" == belonging_of("a", named(a=InSegment("b")).get).fault
    assert "audience_cycle" == belonging_of("a", named(a=InSegment("a")).get).fault
    assert belonging_of("a", named(a=PRO).get).fault is None
