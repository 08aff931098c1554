"""When a failed call is made again follows from attempts, times and key alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.messaging.retry import GiveUp, RetryAt, Verdict, call_schedule, retry_schedule, verdict_of

MINUTE = 60_000
HOUR = 60 * MINUTE
T0 = 1_777_554_000_000


class TestRetrySchedule:
    """retry_schedule: 1, 5, 30 minutes, then every 2 hours, for a day."""

    def test_a_day_of_refusals(self) -> None:
        """Every attempt at the moment it was due: the pauses are the contract's, and after a day it ends."""
        now, pauses = T0, []
        for attempts in range(1, 100):
            match retry_schedule(attempts, T0, now):
                case RetryAt(at):
                    pauses.append(at - now)
                    now = at
                case GiveUp():
                    break

        assert [MINUTE, 5 * MINUTE, 30 * MINUTE] == pauses[:3]
        assert [2 * HOUR] * 11 == pauses[3:]
        assert now <= T0 + 24 * HOUR

    def test_a_provider_may_ask_for_longer_but_not_beyond_an_hour(self) -> None:
        assert RetryAt(T0 + 10 * MINUTE) == retry_schedule(1, T0, T0, 10 * MINUTE)
        assert RetryAt(T0 + HOUR) == retry_schedule(1, T0, T0, 100 * HOUR)
        assert RetryAt(T0 + MINUTE) == retry_schedule(1, T0, T0, 0)

    def test_an_attempt_that_came_late_is_the_last(self) -> None:
        """A server that was down for a day does not begin the day anew."""
        assert isinstance(retry_schedule(2, T0, T0 + 25 * HOUR), GiveUp)


class TestCallSchedule:
    """call_schedule: backoff of webhooks."""

    @settings(deadline=None)
    @given(st.integers(1, 50), st.text(max_size=20), st.none() | st.integers(-5, 10 * HOUR))
    def test_it_grows_is_bounded_and_repeatable(self, attempts: int, key: str, retry_after: int | None) -> None:
        decided = call_schedule(attempts, 50, key, T0, retry_after)

        assert isinstance(decided, RetryAt)
        pause, asked = min(1000 * 4.0 ** (attempts - 1), HOUR), min(max(retry_after or 0, 0), HOUR)
        assert max(0.8 * pause - 1, asked) <= decided.at - T0 <= max(1.2 * pause + 1, asked)
        assert decided == call_schedule(attempts, 50, key, T0, retry_after)

    def test_two_keys_do_not_come_back_together(self) -> None:
        assert 90 < len({call_schedule(2, 3, f"key-{n}", T0) for n in range(100)})

    @pytest.mark.parametrize("retries", [0, 3])
    def test_it_ends_after_its_retries(self, retries: int) -> None:
        """`retries` 3: four calls in all."""
        ends = [type(call_schedule(attempts, retries, "k", T0)) for attempts in range(1, retries + 2)]

        assert [RetryAt] * retries + [GiveUp] == ends


def test_every_status_has_its_verdict() -> None:
    """The full product: nothing but 2xx is done, nothing but 408, 425, 429 and 5xx is repeated."""
    accepted = {status for status in range(100, 700) if verdict_of(status) is Verdict.ACCEPTED}
    temporary = {status for status in range(100, 700) if verdict_of(status) is Verdict.TEMPORARY}

    assert set(range(200, 300)) == accepted
    assert {408, 425, 429, *range(500, 600)} == temporary
