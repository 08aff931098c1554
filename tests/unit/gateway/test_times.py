"""Times and lengths between text and milliseconds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.times import duration_ms, duration_text, ms_of, rfc3339, signed_duration_ms

DAY = 86_400_000


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_777_554_000_000, "2026-04-30T13:00:00.000Z"),
        (1_777_554_000_007, "2026-04-30T13:00:00.007Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (10**18, "9999-12-31T23:59:59.999Z"),
        (-(10**18), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_has_three_fraction_digits_and_z(ms: int, text: str) -> None:
    """Also before 1970; what four digits cannot say is clamped, for an answer must not fail over a year."""
    assert text == rfc3339(ms)


@settings(deadline=None)
@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_what_is_written_is_read_again(ms: int) -> None:
    """Every moment of the calendar survives the way out and in."""
    assert ms == ms_of(rfc3339(ms))


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00.000Z"),
        ("2026-03-01t10:00:00z", "2026-03-01T10:00:00.000Z"),
        ("2026-03-01T10:00:00.5Z", "2026-03-01T10:00:00.500Z"),
        ("2026-03-01T10:00:00.123456789Z", "2026-03-01T10:00:00.123Z"),
        ("2026-03-01T10:00:00+00:00", "2026-03-01T10:00:00.000Z"),
        ("2026-03-01T10:00:00.250-00:00", "2026-03-01T10:00:00.250Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999Z"),
    ],
)
def test_every_rfc_3339_time_in_utc_is_read(text: str, same: str) -> None:
    """Any number of fraction digits, both letters, the offset of zero, and a leap second."""
    assert same == rfc3339(ms_of(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-02-30T10:00:00.000Z",
        "2026-03-01",
        "2026-03-01T10:00Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01 10:00:00Z",
        "2026-03-01T10:00:00",
        "2026-03-01T10:00:00+02:00",
        "2026-03-01T10:00:00.Z",
        "0000-01-01T00:00:00Z",
        "2026-03-01T10:00:00Z\n",
        "２０２６-03-01T10:00:00Z",
        "20260301T100000Z",
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    """No other offset, no date alone, no day that is not in the calendar, no other digits than ASCII's."""
    with pytest.raises(ValueError, match=r"."):
        ms_of(text)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("PT1S", 1000),
        ("PT30M", 1_800_000),
        ("PT36H", 36 * 3_600_000),
        ("P3D", 3 * DAY),
        ("P1W", 7 * DAY),
        ("P1DT12H", 3 * DAY // 2),
        ("PT0S", 0),
        ("PT0.5S", 500),
        ("PT33724.503S", 33_724_503),
        ("P1DT1,5H", DAY + 5_400_000),
        ("P0.5W", 7 * DAY // 2),
    ],
)
def test_a_duration_is_a_number_of_milliseconds(text: str, ms: int) -> None:
    """Weeks, days, hours, minutes and seconds have a fixed length."""
    assert ms == duration_ms(text)


@pytest.mark.parametrize("text", ["P1M", "P1Y", "P1Y2D", "P1DT1M1Y"])
def test_months_and_years_have_no_length(text: str) -> None:
    """They are refused, P1M with the reason, for PT1M is something else."""
    with pytest.raises(ValueError, match=r"months|ISO 8601"):
        duration_ms(text)


@pytest.mark.parametrize("text", ["", "P", "PT", "3d", "P-1D", "-P1D", "P1.5DT1H", "P9999999999D", "P1D\n", "PT1H1D"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="ISO 8601"):
        duration_ms(text)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "PT0S"),
        (1_000, "PT1S"),
        (-86_400_000, "-P1D"),
        (90_061_500, "P1DT1H1M1.5S"),
        (60_000, "PT1M"),
        (1, "PT0.001S"),
    ],
)
def test_lengths_are_written_as_they_are_read(ms: int, text: str) -> None:
    """With a minus where they lie in the past."""
    assert text == duration_text(ms)
    assert ms == signed_duration_ms(text)


@pytest.mark.parametrize("text", ["--P1D", "-", "+P1D", "-P1M", "P-1D"])
def test_no_other_sign_is_read(text: str) -> None:
    """One minus, in front."""
    with pytest.raises(ValueError, match=r"duration|months"):
        signed_duration_ms(text)
