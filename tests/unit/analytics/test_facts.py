"""Facts: reports of one execution become one, in whatever order they come."""

from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from services.analytics.facts import Arm, Fact, counts_of, join
from tests.unit.analytics.reports import fact, report

STEPS = st.sampled_from(["trigger", "welcome", "wait-3d", "exit"])
FACTS = st.builds(
    Fact,
    key=st.just("k"),
    partition=st.just(4),
    workspace=st.just("pk_demo"),
    journey_id=st.just("act"),
    version=st.just(1),
    execution_id=st.just("e"),
    subject_key=st.just("s"),
    end_user_id=st.just("usr_a"),
    started_at=st.just(0),
    status=st.sampled_from(["RUNNING", "SUCCEEDED", "FAILED", "ABORTED"]),
    transition=st.integers(1, 4),
    waiting_step=st.sampled_from(["", "wait-3d", "welcome"]),
    visits=st.dictionaries(STEPS, st.integers(1, 3)),
    results=st.dictionaries(
        st.sampled_from(["welcome-1", "welcome-2"]),
        st.sampled_from(["pending", "unknown", "skipped", "failed", "sent", "from the future"]),
    ),
    arms=st.dictionaries(STEPS, st.builds(Arm, st.sampled_from("ab"), st.just("random"), st.just(0.5))),
    goals=st.sets(st.integers(0, 3)).map(sorted),
    failures=st.sets(st.sampled_from(["wait-3d-1", "welcome-1"])).map(sorted),
)


class TestJoin:
    """join(one, other): a semilattice."""

    @given(FACTS, FACTS)
    def test_the_order_of_two_reports_does_not_matter(self, one: Fact, other: Fact) -> None:
        """Commutative."""
        assert join(one, other) == join(other, one)

    @given(FACTS, FACTS, FACTS)
    def test_the_grouping_of_reports_does_not_matter(self, one: Fact, two: Fact, three: Fact) -> None:
        """Associative."""
        assert join(join(one, two), three) == join(one, join(two, three))

    @given(FACTS, FACTS)
    def test_a_report_said_twice_changes_nothing(self, one: Fact, other: Fact) -> None:
        """Idempotent, and it says so by giving back the very facts it had."""
        both = join(one, other)

        assert both is join(both, other)
        assert both is join(both, one)

    def test_an_end_stays_when_an_older_report_comes_late(self) -> None:
        """The later transition holds the status and where it waits."""
        ended = fact(report(status="SUCCEEDED", transition=3, visits={"wait": 1, "exit": 1}))
        waiting = fact(report(transition=1, waiting="wait", visits={"wait": 1}))

        joined = join(ended, waiting)

        assert "SUCCEEDED" == joined.status
        assert "" == joined.waiting_step

    def test_within_one_transition_the_end_wins(self) -> None:
        """A report that has not heard of the end does not take it back."""
        assert "FAILED" == join(fact(report()), fact(report(status="FAILED"))).status

    def test_a_result_is_set_once_but_unknown_may_be_corrected(self) -> None:
        """pending < unknown < skipped < failed < sent."""
        states = ["sent", "unknown", "pending"]
        reports = [fact(report(results={"welcome-1": state})) for state in states]

        assert {"welcome-1": "sent"} == reduce(join, reports).results

    def test_goals_are_gathered_each_once(self) -> None:
        """Two reports of one goal are one goal."""
        assert [5, 9] == join(fact(report(goals=[9, 5])), fact(report(goals=[5]))).goals


class TestCountsOf:
    """counts_of(facts): what one execution adds to each step."""

    def test_somebody_in_a_wait_is_waiting_there(self) -> None:
        """The last visit waits, the earlier ones were executed."""
        waiting = fact(report(waiting="wait", visits={"trigger": 1, "wait": 2}))

        assert {"trigger": (1, 0, 0, 0), "wait": (1, 0, 0, 1)} == counts_of(waiting)

    def test_a_wait_that_was_left_is_executed(self) -> None:
        """Whatever ended it: its time, its event, the end of the execution."""
        for status in ("SUCCEEDED", "ABORTED", "TIMED_OUT"):
            left = fact(report(status=status, waiting="wait", visits={"wait": 1}))

            assert {"wait": (1, 0, 0, 0)} == counts_of(left)

    def test_an_open_send_counts_nowhere(self) -> None:
        """Promised is not done."""
        assert {"welcome": (0, 0, 0, 0)} == counts_of(
            fact(report(visits={"welcome": 1}, results={"welcome-1": "pending"}))
        )

    def test_a_send_counts_as_its_result_says(self) -> None:
        """Visit by visit; nobody knows means executed, shown as unknown elsewhere."""
        results = {"s-1": "sent", "s-2": "unknown", "s-3": "skipped", "s-4": "failed", "s-5": "pending"}

        assert {"s": (2, 1, 1, 0)} == counts_of(fact(report(visits={"s": 5}, results=results)))

    def test_a_result_counts_before_its_visit_is_reported(self) -> None:
        """The dispatcher may be faster than the outbox."""
        assert {"s": (1, 0, 0, 0)} == counts_of(fact(report(results={"s-1": "sent"})))

    def test_the_step_at_which_it_failed_counts_as_failed(self) -> None:
        """Not as executed."""
        failed = fact(report(status="FAILED", failed="mark", visits={"trigger": 1, "mark": 1}))

        assert {"trigger": (1, 0, 0, 0), "mark": (0, 0, 1, 0)} == counts_of(failed)

    def test_a_failed_send_that_fails_the_execution_is_counted_once(self) -> None:
        """By its result."""
        failed = fact(report(status="FAILED", failed="s", visits={"s": 1}, results={"s-1": "failed"}))

        assert {"s": (0, 0, 1, 0)} == counts_of(failed)

    def test_a_repeated_step_keeps_its_failure_and_gains_its_success(self) -> None:
        """An operator's retry: the first visit failed, the second was executed."""
        failed = fact(report(status="FAILED", transition=2, failed="mark", visits={"mark": 1}))
        done = fact(report(status="SUCCEEDED", transition=3, visits={"mark": 2, "exit": 1}))

        joined = join(done, failed)

        assert "SUCCEEDED" == joined.status
        assert {"mark": (1, 0, 1, 0), "exit": (1, 0, 0, 0)} == counts_of(joined)

    def test_a_deferred_send_waits_and_is_not_executed_when_stopped(self) -> None:
        """Quiet hours: entered, waiting, pending."""
        deferred = {"visits": {"s": 1}, "results": {"s-1": "pending"}, "waiting": "s"}

        assert {"s": (0, 0, 0, 1)} == counts_of(fact(report(**deferred)))  # type: ignore[arg-type]
        assert {"s": (0, 0, 0, 0)} == counts_of(fact(report(**deferred, status="ABORTED")))  # type: ignore[arg-type]

    def test_a_visit_that_is_settled_is_not_waiting(self) -> None:
        """The dispatcher's report may come before the wait is closed."""
        settled = fact(report(visits={"s": 1}, results={"s-1": "sent"}, waiting="s"))

        assert {"s": (1, 0, 0, 0)} == counts_of(settled)

    def test_who_was_refused_or_held_out_entered_nothing(self) -> None:
        """They have facts, and no steps."""
        for status in ("REFUSED", "HOLDOUT"):
            assert {} == counts_of(fact(report(status=status, visits={"trigger": 1})))

    def test_a_step_id_may_hold_hyphens_and_digits(self) -> None:
        """The visit is what follows the last hyphen."""
        assert {"a-1-2": (1, 0, 0, 0)} == counts_of(fact(report(visits={"a-1-2": 1}, results={"a-1-2-1": "sent"})))

    @given(FACTS)
    def test_no_count_is_ever_negative(self, known: Fact) -> None:
        """Whatever half of the story is known."""
        assert all(count >= 0 for counts in counts_of(known).values() for count in counts)


@dataclass
class Life:
    """An execution's reports in order, as a runtime would make them."""

    reports: list[Fact] = field(default_factory=list)


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """A random walk over steps, with sends that settle late and perhaps an end."""
    life = Life()
    visits: dict[str, int] = {}
    results: dict[str, str] = {}
    status, waiting = "RUNNING", ""
    for transition in range(1, draw(st.integers(1, 6)) + 1):
        if status == "RUNNING":
            for _ in range(draw(st.integers(0, 3))):
                step = draw(st.sampled_from(["trigger", "send", "mark"]))
                visits[step] = visits.get(step, 0) + 1
                if step == "send":
                    results[f"send-{visits[step]}"] = draw(st.sampled_from(["pending", "skipped"]))
            waiting = draw(st.sampled_from(["", "wait"]))
            if waiting:
                visits["wait"] = visits.get("wait", 0) + 1
            status = draw(st.sampled_from(["RUNNING", "RUNNING", "SUCCEEDED", "ABORTED"]))
            waiting = "" if status != "RUNNING" else waiting
        for name, state in list(results.items()):
            if state in ("pending", "unknown"):
                results[name] = draw(st.sampled_from([state, "sent", "failed", "unknown"]))
        life.reports.append(
            fact(report(status=status, transition=transition, visits=visits, results=results, waiting=waiting))
        )
    return life


@settings(deadline=None)
@given(lives(), st.data())
def test_any_order_with_repeats_tells_the_same_story(life: Life, data: st.DataObject) -> None:
    """Every report at least once, in any order: the facts are those of the last report."""
    told = data.draw(st.permutations(life.reports + data.draw(st.lists(st.sampled_from(life.reports)))))

    joined = reduce(join, told)

    assert reduce(join, life.reports) == joined
    assert counts_of(life.reports[-1]) == counts_of(joined)


@settings(deadline=None)
@given(lives(), st.data())
def test_a_gap_is_filled_by_what_comes_later(life: Life, data: st.DataObject) -> None:
    """Reports carry the whole state, so with the last one the others may be missing."""
    some = [*data.draw(st.lists(st.sampled_from(life.reports))), life.reports[-1]]

    assert counts_of(life.reports[-1]) == counts_of(reduce(join, some))


@given(lives())
def test_what_was_counted_as_done_stays_counted(life: Life) -> None:
    """Executed and skipped never go down from one report to the next; unknown may become failed."""
    for earlier, later in pairwise(life.reports):
        before, after = counts_of(earlier), counts_of(later)
        for step, (executed, skipped, failed, _) in before.items():
            assert skipped <= after[step][1]
            assert executed + failed <= after[step][0] + after[step][2]
