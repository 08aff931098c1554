"""Audiences inside predicates: lists, references, circles, and chains too long to follow."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.domain.journey.model import And, InSegment, Not, Or, Predicate
from services.domain.journey.predicate import MAX_AUDIENCE_HEIGHT, Audience, Facts, segment_fault
from tests.unit.domain.journey.making import attribute, predicate_of
from tests.unit.domain.journey.people import AUDIENCES, holds, person, reason


def among(audiences: Mapping[str, Audience], **attributes: Any) -> Facts:
    return replace(person(**attributes), audience=audiences.get, end_user_id="u1")


def member(name: str) -> dict[str, Any]:
    return {"kind": "in_segment", "audienceId": name}


def test_an_audience_is_a_predicate_or_a_list() -> None:
    """Lists name people, predicates describe them, and audiences may refer to audiences."""
    audiences = {
        "pro": Audience(predicate_of(attribute("plan", "equals", "pro"))),
        "listed": Audience(subject_ids=frozenset({"u1"})),
        "both": Audience(And((InSegment("pro"), InSegment("listed")))),
        "nobody": Audience(),
    }

    assert holds(member("pro"), among(audiences, plan="pro"))
    assert holds(member("both"), among(audiences, plan="pro"))
    assert not holds(member("both"), among(audiences, plan="free"))
    assert not holds(member("nobody"), among(audiences, plan="pro"))
    assert holds(member("listed"), among(audiences))


def test_an_audience_that_is_gone_makes_the_leaf_false() -> None:
    """And the explanation says so."""
    assert not holds(member("gone"), among({}))
    assert "audience_not_found" == reason(member("gone"), among({}))


def test_audiences_in_a_circle_are_false() -> None:
    """Whoever leads into the circle too; an audience beside it is not touched."""
    audiences = {
        "a": Audience(Or((InSegment("b"), predicate_of(attribute("plan", "exists"))))),
        "b": Audience(Not(InSegment("a"))),
        "into": Audience(InSegment("a")),
        "self": Audience(Not(InSegment("self"))),
        "beside": Audience(predicate_of(attribute("plan", "exists"))),
    }
    facts = among(audiences, plan="pro")

    for name in ("a", "b", "into", "self"):
        assert not holds(member(name), facts)
        assert "audience_cycle" == reason(member(name), facts)
    assert holds(member("beside"), facts)


def test_audiences_of_audiences_end_somewhere() -> None:
    """Sixteen in a row are followed, more are not; a chain of thousands does not exhaust the stack."""
    rows = {f"a{i}": Audience(InSegment(f"a{i + 1}")) for i in range(5_000)} | {"a5000": Audience(And(()))}
    first = 5_000 - MAX_AUDIENCE_HEIGHT + 1

    assert holds(member(f"a{first}"), among(rows))
    assert "audience_too_deep" == reason(member(f"a{first - 1}"), among(rows))
    assert "audience_too_deep" == reason(member("a0"), among(rows))
    assert not holds(member("a0"), among(rows))


def test_the_deepest_predicate_of_the_deepest_audience_fits_the_stack() -> None:
    """Sixteen audiences, each 32 deep."""
    deep: Predicate = And(())
    rows: dict[str, Audience] = {}
    for i in range(MAX_AUDIENCE_HEIGHT):
        for _ in range(31):
            deep = And((deep,))
        rows[f"a{i}"] = Audience(deep)
        deep = InSegment(f"a{i}")

    assert holds(member(f"a{MAX_AUDIENCE_HEIGHT - 1}"), among(rows))


def test_an_audience_named_often_is_decided_once() -> None:
    """Sixteen levels that name the next one 200 times each would else take for ever."""
    rows = {f"a{i}": Audience(And((InSegment(f"a{i + 1}"),) * 200)) for i in range(15)} | {"a15": Audience(And(()))}
    asked = []

    def look_up(name: str) -> Audience | None:
        asked.append(name)
        assert len(asked) < 10_000
        return rows.get(name)

    assert holds(member("a0"), replace(among(rows), audience=look_up))


@given(AUDIENCES, st.sampled_from("wxyz"))
def test_a_circle_is_found_wherever_one_enters_it(audiences: dict[str, Audience], start: str) -> None:
    """Against the plain definition: some audience reached refers, over others, to itself."""
    above = {name: set(audiences[name].refers_to) if name in audiences else set() for name in "wxyz"}
    for middle in "wxyz":
        for name in "wxyz":
            if middle in above[name]:
                above[name] |= above[middle]
    circle = any(name in above[name] for name in {start, *above[start]})

    expected = "audience_not_found" if start not in audiences else "audience_cycle" if circle else None
    assert expected == segment_fault(start, audiences.get)
