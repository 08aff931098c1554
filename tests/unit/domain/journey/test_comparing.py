"""How a value found is compared: the contract to the letter, operator by operator."""

from typing import Any

import pytest
from hypothesis import given

from services.domain.journey.comparing import comparison
from services.domain.journey.model import Operator
from tests.unit.domain.journey.making import ANY_JSON, attribute
from tests.unit.domain.journey.people import holds, person, reason


@pytest.mark.parametrize(
    ("found", "operator", "value", "result"),
    [
        ("pro", "equals", "pro", True),
        ("Pro", "equals", "pro", False),
        ("pro ", "equals", "pro", False),
        (5, "equals", 5.0, True),
        (2**53 + 1, "equals", 2**53, False),
        (True, "equals", True, True),
        (True, "equals", 1, False),
        (1, "equals", True, False),
        ("5", "equals", 5, False),
        ("2026-04-30T15:00:00+02:00", "equals", "2026-04-30T13:00:00.000Z", True),
        ("2026-04-30", "equals", "2026-04-30", True),
        (["a", "b"], "equals", "b", True),
        ([1, "b"], "equals", "b", True),
        ([], "equals", "b", False),
        ("free", "not_equals", "pro", True),
        ("pro", "not_equals", "pro", False),
        (5, "not_equals", "pro", False),
        ("2026-04-30T15:00:00+02:00", "not_equals", "2026-04-30T13:00:00.000Z", False),
        (["pro", "free"], "not_equals", "pro", True),
        (["pro"], "not_equals", "pro", False),
        ("a", "in", ["a", 1], True),
        (1, "in", ["a", 1], True),
        (True, "in", ["a", 1], False),
        ("a", "in", [], False),
        (["x", "a"], "in", ["a"], True),
        ("2026-04-30T15:00:00+02:00", "in", ["2026-04-30T13:00:00Z"], True),
        ("b", "not_in", ["a", 1], True),
        ("a", "not_in", ["a", 1], False),
        (True, "not_in", ["a", 1], False),
        (5, "not_in", ["a"], False),
        ("a", "not_in", [], True),
        ("hello", "contains", "ell", True),
        ("hello", "contains", "ELL", False),
        (["vip-gold"], "contains", "vip", True),
        ([1, 2], "contains", 2, True),
        (12, "contains", 2, False),
        ({"a": 1}, "contains", "a", False),
        ("hello", "not_contains", "xyz", True),
        ("hello", "not_contains", "ell", False),
        (5, "not_contains", "5", False),
        ("hello", "starts_with", "he", True),
        ("hello", "starts_with", "", True),
        (["x", "hello"], "ends_with", "lo", True),
        (5, "starts_with", "5", False),
        (31, "gt", 30, True),
        (30, "gt", 30, False),
        (30, "gte", 30, True),
        (29.5, "lt", 30, True),
        (30, "lte", 30.0, True),
        (True, "gte", 0, False),
        ("31", "gt", 30, False),
        ([1, 31], "gt", 30, True),
        ("2026-05-01T00:00:00Z", "gt", "2026-04-30T23:59:59.999Z", True),
        ("2026-05-01", "gte", "2026-05-01T04:00:00Z", True),  # 00:00 in New York
        ("abc", "gt", "2026-05-01", False),
        (5, "between", [5, 7], True),
        (7, "between", [5, 7], True),
        (7.01, "between", [5, 7], False),
        (6, "between", [7, 5], False),
        ("6", "between", [5, 7], False),
        ("2026-04-15", "between", ["2026-04-01", "2026-04-30"], True),
        ("2026-04-30T12:00:00Z", "before", "2026-04-30T13:00:00+01:00", False),
        ("2026-04-30T11:59:59Z", "before", "2026-04-30T13:00:00+01:00", True),
        ("2026-04-30T12:00:01Z", "after", "2026-04-30T13:00:00+01:00", True),
        ("2026-04-30T04:00:00Z", "after", "2026-04-30", False),  # exactly 00:00 in New York
        ("2026-04-30T04:00:01Z", "after", "2026-04-30", True),
        (1777554000, "after", "2026-04-30", False),
        ("2026-05-01T03:59:59Z", "on", "2026-04-30", True),  # still the 30th in New York
        ("2026-05-01T04:00:00Z", "on", "2026-04-30", False),
        ("2026-04-30", "on", "2026-05-01T01:00:00Z", True),
        ("2026-02-30", "on", "2026-04-30", False),
        ("soon", "on", "2026-04-30", False),
        (["2026-01-01", "2026-04-30"], "on", "2026-04-30", True),
        ("", "exists", None, True),
        (False, "exists", None, True),
        ([], "exists", None, True),
        (None, "exists", None, False),
        (None, "not_exists", None, True),
        (0, "not_exists", None, False),
    ],
)
def test_a_comparison_is_to_the_letter(found: Any, operator: str, value: Any, result: bool) -> None:
    """Exact strings, instants, numbers that are no booleans, any element of a list."""
    assert result is holds(attribute("a", operator, value), person(a=found))


@pytest.mark.parametrize("operator", [operator for operator in Operator if operator is not Operator.NOT_EXISTS])
@pytest.mark.parametrize("attributes", [{}, {"a": None}, {"a": 5}, {"a": [{"b": "2026-04-30"}]}])
def test_a_missing_attribute_makes_the_leaf_false(operator: Operator, attributes: dict[str, Any]) -> None:
    """Negated operators too; a path leads through objects only, and a null is nothing."""
    value = {Operator.IN: ["x"], Operator.NOT_IN: ["x"], Operator.BETWEEN: [1, 2]}.get(operator, "2026-04-30")
    leaf = attribute("a.b", operator.value, value)

    assert not holds(leaf, person(**attributes))
    assert (None if operator is Operator.EXISTS else "missing_attribute") == reason(leaf, person(**attributes))


@pytest.mark.parametrize(
    ("operator", "value"),
    [("not_equals", "a"), ("not_in", ["a"]), ("not_contains", "a"), ("gt", 1), ("on", "2026-01-01")],
)
@pytest.mark.parametrize("found", [True, {"a": 1}, [[]]])
def test_a_type_mismatch_makes_the_leaf_false_and_is_told(operator: str, value: Any, found: Any) -> None:
    """Contract 3: "and the explanation says so"."""
    assert not holds(attribute("a", operator, value), person(a=found))
    assert "type_mismatch" == reason(attribute("a", operator, value), person(a=found))


def test_an_empty_list_is_no_mismatch() -> None:
    """It can be compared; there is only nothing in it that matches."""
    assert not holds(attribute("a", "not_equals", "x"), person(a=[]))
    assert reason(attribute("a", "not_equals", "x"), person(a=[])) is None


def test_a_comparison_that_can_never_hold_is_false_and_told() -> None:
    """Publish refuses it; a dry run of a draft still walks through."""
    leaf = attribute("a", "between", 5)

    assert not holds(leaf, person(a=5))
    assert "invalid_value" == reason(leaf, person(a=5))


@given(ANY_JSON, ANY_JSON)
def test_comparing_never_raises(found: Any, value: Any) -> None:
    """Any JSON with any JSON, in any zone."""
    for operator in Operator:
        compare = comparison(operator, value)
        if compare is not None and found is not None:
            assert compare(found, "Asia/Tokyo") in (True, False, None)
