"""What a predicate consists of, and whether its comparisons can ever hold.

Law: nothing is evaluated here. Walks are iterative and give each leaf its JSON Pointer.
"""

from collections.abc import Iterator
from typing import assert_never

from services.domain.errors import Fault
from services.domain.journey.comparing import comparison, wanted_by
from services.domain.journey.model import (
    And,
    ChannelOptedIn,
    Compare,
    EventFired,
    InSegment,
    Json,
    Leaf,
    Not,
    Operator,
    Or,
    Predicate,
    Received,
)


def leaves_of(predicate: Predicate, at: str = "") -> Iterator[tuple[Leaf, str]]:
    """Every leaf in the order written, those of a `where` after their own, each with its pointer."""
    stack: list[tuple[Predicate, str]] = [(predicate, at)]
    while stack:
        part, path = stack.pop()
        match part:
            case And(clauses) | Or(clauses):
                stack.extend((clauses[i], f"{path}/clauses/{i}") for i in reversed(range(len(clauses))))
            case Not(clause):
                stack.append((clause, f"{path}/clause"))
            case EventFired():
                yield part, path
                if part.where is not None:
                    stack.append((part.where, f"{path}/where"))
            case Compare() | InSegment() | ChannelOptedIn() | Received():
                yield part, path
            case _:
                assert_never(part)


def audiences_in(predicate: Predicate) -> frozenset[str]:
    """The audiences the predicate itself names."""
    return frozenset(leaf.audience_id for leaf, _ in leaves_of(predicate) if isinstance(leaf, InSegment))


def typing_faults(predicate: Predicate, at: str) -> list[Fault]:
    """`invalid_condition` for each comparison that can never hold, because of what it is compared with."""
    return [
        Fault(f"{path}/value", "invalid_condition", f"The operator {leaf.operator} needs {wanted_by(leaf.operator)}.")
        for leaf, path in leaves_of(predicate, at)
        if isinstance(leaf, Compare)
        and leaf.operator not in (Operator.EXISTS, Operator.NOT_EXISTS)
        and comparison(leaf.operator, leaf.value) is None
    ]


def form_faults(predicate: Predicate, json: Json, at: str) -> list[Fault]:
    """A fault for each comparison that lacks its value, or whose value has not the form the operator takes.

    `json` is what the predicate was read from. Less than `typing_faults`: a draft may lack a value until it is
    published, what acts at once may not.
    """
    found = []
    for leaf, inside in leaves_of(predicate):
        path = at + inside
        if not isinstance(leaf, Compare) or leaf.operator in (Operator.EXISTS, Operator.NOT_EXISTS):
            continue
        needs_list = leaf.operator in (Operator.IN, Operator.NOT_IN, Operator.BETWEEN)
        is_pair = isinstance(leaf.value, list) and len(leaf.value) == 2
        if "value" not in _written_at(json, inside):
            found.append(Fault(f"{path}/value", "missing_member", f"The operator {leaf.operator} needs a value."))
        elif needs_list and not (is_pair if leaf.operator is Operator.BETWEEN else isinstance(leaf.value, list)):
            message = f"The operator {leaf.operator} needs {wanted_by(leaf.operator)}."
            found.append(Fault(f"{path}/value", "wrong_type", message))
    return found


def _written_at(json: Json, path: str) -> Json:
    for part in path.split("/")[1:]:
        json = json[int(part)] if isinstance(json, list) else json[part]
    return json
