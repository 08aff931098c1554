"""Who may enter a journey."""

import pytest

from services.domain.execution.assignment import is_held_out, random_arm
from services.domain.execution.lifecycle import Status
from services.domain.execution.triggers import Former
from services.domain.journey.model import Arm, Compare, Operator, Root
from services.domain.journey.predicate import Audience
from tests.support.walking import DAY, EXIT, T0, TRIGGER, occasion, start, version_of, view_of

PATH = [{**TRIGGER, "next": "exit"}, EXIT]
BIG = {"kind": "event_attribute", "fieldPath": "total", "operator": "gte", "value": 10}


def former(started_at: int = T0 - DAY, *, running: bool = False, **data: object) -> Former:
    return Former("k0", started_at, running, data)


def test_a_paused_journey_blocks_and_says_so() -> None:
    """Audited, and decided for good under this event."""
    made = start(version_of(PATH), view_of(journey_status="paused"))

    assert Status.REFUSED == made.execution.status
    assert made.execution.refusal is not None
    assert "journey_paused" == made.execution.refusal.reason
    assert [("trigger.blocked", {"reason": "journey_paused"})] == [(e.action, e.detail) for e in made.execution.outbox]


def test_a_filter_that_says_no_is_not_audited() -> None:
    """Only `why` shows it."""
    made = start(version_of([{**TRIGGER, "filter": BIG, "next": "exit"}, EXIT]), on=occasion(data={"total": 9}))

    assert made.execution.refusal is not None
    assert "trigger_filter" == made.execution.refusal.reason
    assert () == made.execution.outbox


def test_a_deleted_audience_blocks_visibly() -> None:
    """Neither everybody nor nobody silently."""
    made = start(version_of(PATH, audience_id="aud"), view_of(audience=lambda audience_id: None))

    assert made.execution.refusal is not None
    assert "audience_missing" == made.execution.refusal.reason
    assert ["trigger.blocked"] == [entry.action for entry in made.execution.outbox]


@pytest.mark.parametrize(("plan", "status"), [("pro", Status.SUCCEEDED), ("free", Status.REFUSED)])
def test_only_members_of_the_audience_enter(plan: str, status: Status) -> None:
    """Judged on the profile as it is now."""
    audience = Audience(predicate=Compare(Root.ATTRIBUTE, ("plan",), Operator.EQUALS, plan))

    made = start(version_of(PATH, audience_id="aud"), view_of(audience=lambda audience_id: audience))

    assert status == made.execution.status


@pytest.mark.parametrize(
    ("rule", "formers", "enters"),
    [
        ({"mode": "every_event"}, [former(running=True)], True),
        ({"mode": "once"}, [], True),
        ({"mode": "once"}, [former()], False),
        ({"mode": "after_exit"}, [former(running=True)], False),
        ({"mode": "after_exit"}, [former()], True),
        ({"mode": "every_event", "minInterval": "P1D"}, [former(T0 - DAY)], True),
        ({"mode": "every_event", "minInterval": "P1D"}, [former(T0 - DAY + 1)], False),
        ({"mode": "after_exit", "concurrencyKey": "data.orderId"}, [former(running=True, orderId=2)], True),
        ({"mode": "after_exit", "concurrencyKey": "data.orderId"}, [former(running=True, orderId=1)], False),
    ],
)
def test_reentry_rules(rule: dict[str, str], formers: list[Former], enters: bool) -> None:
    """Every mode, with and without a key and an interval."""
    version = version_of(PATH, {"reentry": rule})

    made = start(version, view_of(formers=formers), on=occasion(data={"orderId": 1}))

    assert enters == (made.execution.refusal is None)


def test_the_holdout_is_counted_and_never_runs() -> None:
    """Recorded under the execution's key, so that its conversions use the same code."""
    made = start(version_of(PATH), view_of(holdout_percent=100))

    assert Status.HOLDOUT == made.execution.status
    assert ["holdout.counted"] == [entry.action for entry in made.execution.outbox]
    assert {} == made.execution.visits


def test_the_holdout_is_nested_and_about_its_share() -> None:
    """Whoever is held out at 5 % is held out at 10 %."""
    people = [f"usr_{i}" for i in range(20_000)]
    five = {one for one in people if is_held_out(5, "salt", one)}
    ten = {one for one in people if is_held_out(10, "salt", one)}

    assert five < ten
    assert 0.045 < len(five) / len(people) < 0.055
    assert not any(is_held_out(0, "salt", one) for one in people)


def test_random_arms_follow_their_weights() -> None:
    """One to three gives a quarter and three quarters."""
    arms = [Arm("a", "x", 1), Arm("b", "x", 3)]
    drawn = [random_arm(arms, "act", "split", f"usr_{i}")[0].id for i in range(20_000)]

    assert 0.24 < drawn.count("a") / len(drawn) < 0.26
