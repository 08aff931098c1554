"""How one value found in a profile, an event or the answers is compared with the value an author wrote.

Law: a comparison answers True, False, or None where the two cannot be compared, and never raises. Strings compare
exactly, times as instants, booleans are no numbers. A list found matches if any of its elements does.
Source: contract 3, "Predicate".
"""

from collections.abc import Callable
from datetime import date

from services.domain.journey.model import Json, Operator
from services.domain.times import BadTime, local_date, parse_date, parse_time, start_of_date

Comparison = Callable[[Json, str], bool | None]  # the value found (never None), the subject's zone

_CLASSES: dict[type, type] = {str: str, bool: bool, int: float, float: float}  # what may be compared with what

_WANTED = {
    Operator.EQUALS: "a string, a number, true or false",
    Operator.NOT_EQUALS: "a string, a number, true or false",
    Operator.CONTAINS: "a string, a number, true or false",
    Operator.NOT_CONTAINS: "a string, a number, true or false",
    Operator.IN: "a list of strings, numbers, true or false",
    Operator.NOT_IN: "a list of strings, numbers, true or false",
    Operator.STARTS_WITH: "a string",
    Operator.ENDS_WITH: "a string",
    Operator.GT: "a number, a time or a date",
    Operator.GTE: "a number, a time or a date",
    Operator.LT: "a number, a time or a date",
    Operator.LTE: "a number, a time or a date",
    Operator.BETWEEN: "a list of two numbers, or of two times or dates: the lowest and the highest",
    Operator.BEFORE: "a time or a date",
    Operator.AFTER: "a time or a date",
    Operator.ON: "a time or a date",
}


def wanted_by(operator: Operator) -> str:
    """What an author must write beside the operator, in words."""
    return _WANTED.get(operator, "nothing")


def comparison(operator: Operator, value: Json) -> Comparison | None:
    """The comparison with `value`; None if it can never hold, because `value` is nothing the operator can use.

    `exists` and `not_exists` are not comparisons: they too give None.
    """
    match operator:
        case Operator.EQUALS:
            return _lifted(_equals(value))
        case Operator.NOT_EQUALS:
            return _lifted(_negated(_equals(value)))
        case Operator.IN:
            return _lifted(_among(value))
        case Operator.NOT_IN:
            return _lifted(_negated(_among(value)))
        case Operator.CONTAINS:
            return _contains(value, True)
        case Operator.NOT_CONTAINS:
            return _contains(value, False)
        case Operator.STARTS_WITH | Operator.ENDS_WITH:
            return _lifted(_begins_or_ends(operator, value))
        case Operator.GT | Operator.GTE | Operator.LT | Operator.LTE:
            return _lifted(_ordered(operator, value))
        case Operator.BETWEEN:
            return _lifted(_between(value))
        case Operator.BEFORE | Operator.AFTER:
            return _lifted(_ordered(operator, value) if type(value) is str else None)
        case Operator.ON:
            return _lifted(_on(value))
        case _:
            return None


def _lifted(test: Comparison | None) -> Comparison | None:
    """The same over lists: any element."""
    if test is None:
        return None

    def any_of(found: Json, zone: str) -> bool | None:
        if found.__class__ is not list:
            return test(found, zone)
        answer = None if found else False
        for element in found:
            one = test(element, zone)
            if one:
                return True
            if one is not None:
                answer = False
        return answer

    return any_of


def _negated(test: Comparison | None) -> Comparison | None:
    if test is None:
        return None

    def negated(found: Json, zone: str) -> bool | None:
        answer = test(found, zone)
        return None if answer is None else not answer

    return negated


def _equals(value: Json) -> Comparison | None:
    kind = _CLASSES.get(type(value))
    if kind is None:
        return None
    instant = _instant(value)
    if instant is None:
        return lambda found, zone: None if _CLASSES.get(found.__class__) is not kind else found == value

    def same_instant(found: Json, zone: str) -> bool | None:
        return None if found.__class__ is not str else found == value or _instant(found) == instant

    return same_instant


def _among(values: Json) -> Comparison | None:
    if not isinstance(values, list) or any(type(value) not in _CLASSES for value in values):
        return None
    members: dict[type, set[Json]] = {}  # apart by class: True equals 1 in a set
    for value in values:
        members.setdefault(_CLASSES[type(value)], set()).add(value)
    instants = {_instant(value) for value in members.get(str, ())} - {None}

    def among(found: Json, zone: str) -> bool | None:
        kind = _CLASSES.get(found.__class__)
        if kind is None or (members and kind not in members):
            return None
        return bool(members) and (found in members[kind] or (bool(instants) and _instant(found) in instants))

    return among


def _contains(value: Json, wanted: bool) -> Comparison | None:
    """A string contains a part of itself; a list contains an element, or a string that contains it."""
    kind = _CLASSES.get(type(value))
    if kind is None:
        return None

    def part(found: Json, zone: str) -> bool | None:
        return None if kind is not str or found.__class__ is not str else (value in found) is wanted

    def element(found: Json, zone: str) -> bool | None:
        return (found == value) is wanted if _CLASSES.get(found.__class__) is kind else None

    in_list = _lifted(part if kind is str else element)
    assert in_list is not None
    return lambda found, zone: in_list(found, zone) if found.__class__ is list else part(found, zone)


def _begins_or_ends(operator: Operator, value: Json) -> Comparison | None:
    if not isinstance(value, str):
        return None
    if operator is Operator.STARTS_WITH:
        return lambda found, zone: found.startswith(value) if found.__class__ is str else None
    return lambda found, zone: found.endswith(value) if found.__class__ is str else None


def _ordered(operator: Operator, value: Json) -> Comparison | None:
    if _CLASSES.get(type(value)) is float:
        return _ordered_number(operator, value)
    bound = _bound(value)
    if bound is None:
        return None

    def ordered(found: Json, zone: str) -> bool | None:
        moment, limit = _moment(found, zone), bound(zone)
        return None if moment is None else _holds(operator, moment, limit)

    return ordered


def _ordered_number(operator: Operator, limit: float) -> Comparison:
    return lambda found, zone: _holds(operator, found, limit) if _CLASSES.get(found.__class__) is float else None


def _holds(operator: Operator, found: float, limit: float) -> bool:
    if operator is Operator.GT or operator is Operator.AFTER:
        return found > limit
    if operator is Operator.LT or operator is Operator.BEFORE:
        return found < limit
    return found >= limit if operator is Operator.GTE else found <= limit


def _between(value: Json) -> Comparison | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    low, high = value
    if _CLASSES.get(type(low)) is float and _CLASSES.get(type(high)) is float:
        return lambda found, zone: low <= found <= high if _CLASSES.get(found.__class__) is float else None
    first, last = _bound(low), _bound(high)
    if first is None or last is None:
        return None

    def between(found: Json, zone: str) -> bool | None:
        moment = _moment(found, zone)
        return None if moment is None else first(zone) <= moment <= last(zone)

    return between


def _on(value: Json) -> Comparison | None:
    if _bound(value) is None:
        return None

    def same_day(found: Json, zone: str) -> bool | None:
        day = _day(found, zone)
        return None if day is None else day == _day(value, zone)

    return same_day


def _bound(value: Json) -> Callable[[str], int] | None:
    """The moment an author wrote, as the subject's zone reads it: a date is its 00:00 there."""
    instant = _instant(value)
    if instant is not None:
        return lambda zone: instant
    day = _date(value)
    return None if day is None else lambda zone: start_of_date(day, zone)


def _moment(found: Json, zone: str) -> int | None:
    day = _date(found)
    return _instant(found) if day is None else start_of_date(day, zone)


def _day(found: Json, zone: str) -> date | None:
    instant = _instant(found)
    return _date(found) if instant is None else local_date(instant, zone)


def _instant(value: Json) -> int | None:
    if value.__class__ is not str or len(value) < 20:  # the shortest is 2026-04-30T13:00:00Z
        return None
    try:
        return parse_time(value)
    except BadTime:
        return None


def _date(value: Json) -> date | None:
    if value.__class__ is not str or len(value) != 10:
        return None
    try:
        return parse_date(value)
    except BadTime:
        return None
