"""Figures are made once, and the log names things by id."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from services.infra.telemetry import Telemetry, only_ids, set_up_logging, silence


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    set_up_logging("info", "json", stream)
    yield stream
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class TestFigures:
    """counter, gauge, histogram."""

    def test_a_figure_asked_for_twice_is_one(self) -> None:
        """Two modules may count the same thing without knowing of each other."""
        telemetry = Telemetry()
        telemetry.counter("sends", "Sends.", ["channel"]).labels("email").inc()
        telemetry.counter("sends", "Sends.", ["channel"]).labels("email").inc(2)

        assert b'sends_total{channel="email"} 3.0' in telemetry.render()

    def test_all_kinds_are_rendered(self) -> None:
        """The text format holds counters, gauges and histograms with their buckets."""
        telemetry = Telemetry()
        telemetry.gauge("lag", "Records behind.").set(7)
        telemetry.histogram("lateness", "Seconds.", buckets=(1.0, 2.0)).observe(1.5)
        text = telemetry.render().decode()

        assert "lag 7.0" in text
        assert 'lateness_bucket{le="2.0"} 1.0' in text

    @pytest.mark.parametrize("labels", [[], ["other"]])
    def test_another_shape_under_one_name_is_refused(self, labels: list[str]) -> None:
        """The name, its kind and its labels belong together."""
        telemetry = Telemetry()
        telemetry.counter("sends", "Sends.", ["channel"])

        with pytest.raises(ValueError, match="already a Counter"):
            telemetry.counter("sends", "Sends.", labels)

    def test_another_kind_under_one_name_is_refused(self) -> None:
        """A gauge is no counter."""
        telemetry = Telemetry()
        telemetry.counter("sends", "Sends.")

        with pytest.raises(ValueError, match="already a Counter"):
            telemetry.gauge("sends", "Sends.")

    def test_two_telemetries_do_not_meet(self) -> None:
        """No global registry: a test's figures are its own."""
        one, other = Telemetry(), Telemetry()
        one.counter("sends", "Sends.").inc()

        assert b"sends" not in other.render()

    def test_the_process_is_measured_where_asked(self) -> None:
        """Memory and CPU of the process, for the one Telemetry that is shown outside."""
        assert b"process_resident_memory_bytes" in Telemetry(process=True).render()


class TestLog:
    """set_up_logging, silence, only_ids."""

    def test_a_line_is_a_json_object(self, log: io.StringIO) -> None:
        """Event, level, time and the named values."""
        structlog.get_logger().info("publish", journey="act-onb-2026", version=3)

        (line,) = lines(log)
        assert ("publish", "info", "act-onb-2026", 3) == (
            line["event"],
            line["level"],
            line["journey"],
            line["version"],
        )

    def test_below_the_level_nothing_is_written(self, log: io.StringIO) -> None:
        """debug is dropped at info."""
        structlog.get_logger().debug("rpc", method="x")

        assert "" == log.getvalue()

    def test_what_is_bound_to_the_context_is_in_every_line(self, log: io.StringIO) -> None:
        """The request id need not be passed around."""
        structlog.contextvars.bind_contextvars(request_id="req-1")
        structlog.get_logger().info("publish")

        assert "req-1" == lines(log)[0]["request_id"]

    def test_third_parties_write_the_same_form(self, log: io.StringIO) -> None:
        """A line of the standard library's logging is an object too, with its logger's name."""
        logging.getLogger("some.vendor").warning("lost %s", "it")

        (line,) = lines(log)
        assert ("lost it", "warning", "some.vendor") == (line["event"], line["level"], line["logger"])

    def test_loud_vendors_are_silent_below_a_warning(self, log: io.StringIO) -> None:
        """aiokafka and its like, and whoever is named."""
        silence("loud.vendor")
        for name in ("aiokafka.consumer", "aiohttp.access", "loud.vendor"):
            logging.getLogger(name).info("chatter")

        assert "" == log.getvalue()

    def test_an_exception_is_told_with_its_traceback_and_without_locals(self, log: io.StringIO) -> None:
        """Local variables hold what people wrote."""
        hidden = "ann@example.com"
        try:
            raise KeyError("x")
        except KeyError:
            structlog.get_logger().exception("failed", length=len(hidden))

        assert "Traceback" in str(lines(log)[0]["exception"])
        assert "ann@" not in log.getvalue()

    def test_the_console_shows_no_locals_either(self, log: io.StringIO) -> None:
        """structlog's own default would."""
        set_up_logging("info", "console", log)
        hidden = "ann@example.com"
        try:
            raise KeyError("x")
        except KeyError:
            structlog.get_logger().exception("failed", length=len(hidden))

        assert "Traceback" in log.getvalue()
        assert "ann@" not in log.getvalue()

    def test_values_that_are_no_ids_are_replaced(self) -> None:
        """Collections and objects become their type; telling names are hidden."""
        line = only_ids(
            None, "info", {"event": "x", "id": "a", "n": 1, "none": None, "email": "a@b.c", "data": {"a": 1}}
        )

        assert {"event": "x", "id": "a", "n": 1, "none": None, "email": "***", "data": "<dict>"} == line

    @pytest.mark.usefixtures("log")
    def test_a_line_that_cannot_be_written_stops_nobody(self) -> None:
        """On a full disk the line is lost, and whoever logs goes on."""

        class Full(io.StringIO):
            def write(self, text: str) -> int:
                raise OSError(28, "No space left on device")

        set_up_logging("info", "json", Full())

        structlog.get_logger().warning("cycle.unavailable")
        logging.getLogger("services").warning("a checkpoint failed")
