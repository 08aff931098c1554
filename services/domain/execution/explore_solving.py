"""Values under which conditions hold: a constructive search over the leaves of predicates.

Law: an answer found is an answer; `Contradiction` is said only where every way to make the conditions hold was tried
and failed, of one value for each path (a list that matches two values at once is not looked for); everything else is
`Unknown`. Iterative; the work is bounded by a budget that the caller shares out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from services.domain.journey.comparing import comparison
from services.domain.journey.model import (
    And,
    ChannelOptedIn,
    Compare,
    EventFired,
    InSegment,
    Leaf,
    Not,
    Operator,
    Or,
    Predicate,
    Received,
)
from services.domain.times import DAY_MS, BadTime, format_time, parse_date, parse_time

Variable = tuple[Any, ...]
Literals = dict[Variable, tuple["Literal", ...]]
MOST_EXPANSIONS: Final = 3_000  # of one problem
_ANY: Final = ("other", 1, 0, True, False, "")


class Budget:
    """Work that may still be done. `spend` says whether there was any left."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, amount: int = 1) -> bool:
        """Take some."""
        self.left -= amount
        return self.left >= 0


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Nothing makes it hold."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """It could not be decided within the budget."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A leaf that has to hold, or has to fail. For counts of events, `least` is how many there are anyway."""

    leaf: Leaf
    wanted: bool
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """A predicate that has to hold, or has to fail, in a context that only the resolver understands."""

    predicate: Predicate
    wanted: bool
    context: Any = None


# What a leaf is about in a context: a truth, a predicate in its place, or a variable with what is asked of it.
Resolver = Callable[[Leaf, bool, Any], "bool | Predicate | tuple[Variable, Literal]"]
_Agenda = tuple[Wish, "_Agenda"] | None


@dataclass(slots=True)
class Solver:
    """Solves wishes. `zone` is where dates begin."""

    resolve: Resolver
    zone: str
    budget: Budget
    _values: dict[tuple[Any, ...], tuple[bool, Any]] = field(default_factory=dict)

    def solve(
        self, wishes: Sequence[Wish], known: Literals | None = None, more: Sequence[Wish] | None = None
    ) -> Literals | Contradiction | Unknown:
        """What has to be true of each variable, or that nothing will do.

        Where all but `more` of the wishes are met by `known`, that is tried first: most wishes only add to it.
        """
        if known is not None and more is not None:
            found = self._search(more, known)
            if isinstance(found, dict):
                return found
        return self._search(wishes, {})

    def _search(self, wishes: Sequence[Wish], known: Literals) -> Literals | Contradiction | Unknown:
        agenda: _Agenda = None
        for wish in reversed(wishes):
            agenda = (wish, agenda)
        rest: list[tuple[_Agenda, Literals]] = [(agenda, known)]
        expansions = 0
        while rest:
            expansions += 1
            if expansions > MOST_EXPANSIONS or not self.budget.spend():
                return Unknown()
            found = self._expand(*rest.pop(), rest)
            if found is not None:
                return found
        return Contradiction()

    def value_of(self, variable: Variable, literals: tuple[Literal, ...]) -> tuple[bool, Any]:
        """Whether some value satisfies all of them, and the first that does."""
        # With the types beside: 1 equals True.
        key: tuple[Any, ...] = (*literals, *(type(getattr(one.leaf, "value", None)) for one in literals))
        try:
            known = self._values.get(key)
        except TypeError:  # a literal compares with a list
            known, key = None, ()
        if known is None:
            known = next(((True, one) for one in candidates(literals) if self._fits(one, literals)), (False, None))
            if key:
                self._values[key] = known
        return known

    def _expand(self, agenda: _Agenda, literals: Literals, rest: list[tuple[_Agenda, Literals]]) -> Literals | None:
        """Follow one way until it is done, fails, or divides; the other ways are left in `rest`."""
        literals = dict(literals)
        while agenda is not None:
            wish, agenda = agenda
            match wish.predicate:
                case Not(clause):
                    agenda = (Wish(clause, not wish.wanted, wish.context), agenda)
                case And(clauses) | Or(clauses):
                    parts = [Wish(clause, wish.wanted, wish.context) for clause in clauses]
                    if isinstance(wish.predicate, And) is wish.wanted:
                        for part in reversed(parts):
                            agenda = (part, agenda)
                    else:
                        rest.extend(((part, agenda), literals) for part in reversed(parts))
                        return None
                case leaf:
                    about = self.resolve(leaf, wish.wanted, wish.context)
                    if isinstance(about, bool):
                        if about is not wish.wanted:
                            return None
                    elif isinstance(about, tuple):
                        variable, literal = about
                        asked = (*literals.get(variable, ()), literal)
                        if not self.value_of(variable, asked)[0]:
                            return None
                        literals[variable] = asked
                    else:
                        agenda = (Wish(about, wish.wanted, wish.context), agenda)
        return literals

    def _fits(self, value: Any, literals: Sequence[Literal]) -> bool:
        return all(self._holds(value, one) is one.wanted for one in literals)

    def _holds(self, value: Any, literal: Literal) -> bool | None:
        leaf = literal.leaf
        if isinstance(leaf, Compare):
            if leaf.operator is Operator.EXISTS:
                return value is not None
            if leaf.operator is Operator.NOT_EXISTS:
                return value is None
            compare = comparison(leaf.operator, leaf.value)
            return compare is not None and value is not None and compare(value, self.zone) is True
        if isinstance(leaf, EventFired):
            if value < literal.least or (literal.most is not None and value > literal.most):
                return None
            return bool((value >= leaf.at_least) is not leaf.negated)
        if isinstance(leaf, ChannelOptedIn):
            return bool(value is not leaf.negated)
        if isinstance(leaf, Received) and leaf.status in ("sent", "failed"):
            return bool(value == leaf.status)
        return bool(value)


def candidates(literals: Sequence[Literal]) -> Iterator[Any]:
    """Values among which one is, if any value satisfies the literals: the plainest first."""
    leaf = literals[0].leaf
    if isinstance(leaf, EventFired):
        counts = {one.leaf.at_least for one in literals if isinstance(one.leaf, EventFired)}
        least = {one.least for one in literals}
        yield from sorted({0, *least, *counts, *(count - 1 for count in counts)})
        return
    if isinstance(leaf, Received) and leaf.status in ("sent", "failed"):
        yield from ("sent", "failed")
        return
    if isinstance(leaf, ChannelOptedIn | InSegment | Received):
        yield from (True, False)
        return
    yield None  # a missing value fails every comparison
    compares = [one.leaf for one in literals if isinstance(one.leaf, Compare)]
    written = [value for one in compares for value in _written(one)]
    wanted = [one.leaf.value for one in literals if one.wanted and isinstance(one.leaf, Compare)]
    yield from (value for value in wanted if not isinstance(value, list))
    yield from written
    yield from _numbers([value for value in written if type(value) in (int, float)])
    yield from _texts(literals)
    yield from _moments([value for value in written if isinstance(value, str)])
    yield from _ANY
    inside = [one.leaf.value for one in literals if one.wanted and one.leaf.operator is Operator.CONTAINS]  # type: ignore[union-attr]  # compares alone are left
    yield inside
    yield ["other"]


def _written(leaf: Compare) -> list[Any]:
    if isinstance(leaf.value, list):
        return list(leaf.value)
    return [] if leaf.value is None else [leaf.value]


def _numbers(written: Sequence[float]) -> Iterator[Any]:
    ordered = sorted({value for value in written if not isinstance(value, bool)})
    if ordered:
        yield from (ordered[-1] + 1, ordered[0] - 1)
    yield from ((low + high) / 2 for low, high in pairwise(ordered))


def _texts(literals: Sequence[Literal]) -> Iterator[str]:
    def values(operator: Operator) -> list[str]:
        return [
            one.leaf.value
            for one in literals
            if isinstance(one.leaf, Compare)
            and one.wanted
            and one.leaf.operator is operator
            and isinstance(one.leaf.value, str)
        ]

    starts, ends, parts = values(Operator.STARTS_WITH), values(Operator.ENDS_WITH), values(Operator.CONTAINS)
    start, end = max(starts, key=len, default=""), max(ends, key=len, default="")
    whole = f"{start}{' '.join(parts)}{end}"
    if whole:
        yield from (whole, f"{start} {' '.join(parts)} {end}", f"{start}x{end}")
        if start and end:  # they may overlap
            yield from (start + end[i:] for i in range(1, len(end) + 1) if start.endswith(end[:i]))
    for one in literals:
        if isinstance(one.leaf, Compare) and isinstance(one.leaf.value, str):
            yield f"{one.leaf.value}x"
            yield f"x{one.leaf.value}"


def _moments(written: Sequence[str]) -> Iterator[str]:
    instants: list[int] = []
    for text in written:
        try:
            at = parse_time(text) if len(text) > 10 else _day_ms(text)
        except BadTime:
            continue
        instants.append(at)
    ordered = sorted(set(instants))
    steps = (-2 * DAY_MS, -1, 0, 1, 2 * DAY_MS)
    around = [at + step for at in ordered for step in steps] + [(a + b) // 2 for a, b in pairwise(ordered)]
    for at in around:
        try:
            yield format_time(at)
        except BadTime:
            continue


def _day_ms(text: str) -> int:
    return (parse_date(text).toordinal() - 719_163) * DAY_MS  # 1970-01-01
