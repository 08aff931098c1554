"""Logs and figures.

Law: a line of the log and a label of a figure name things by id; what people are, wrote or received is in neither.
`only_ids` keeps the first half: a value that is no id, number or moment is replaced by its type.

Each Telemetry has its own registry, so two in one process (tests) do not meet.
"""

import logging
import sys
from collections.abc import MutableMapping, Sequence
from typing import Any, Final, TextIO, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# What these say below a warning is about themselves, and aiohttp's access lines hold query strings.
LOUD: Final = ("aiohttp", "aiokafka", "asyncio", "grpc", "kafka", "liquid", "motor", "pymongo", "urllib3")

_PLAIN = (str, int, float, bool, type(None))
_OURS = frozenset({"exc_info", "stack_info", "_record", "_from_structlog"})  # structlog's own, rendered later
_NEVER = frozenset(
    {"address", "attributes", "body", "email", "headers", "password", "phone", "profile", "secret", "subject", "token"}
)

F = TypeVar("F", Counter, Gauge, Histogram)


class Telemetry:
    """The figures of a process. Asking twice for a name gives the same figure; another shape is a ValueError."""

    def __init__(self, *, process: bool = False) -> None:
        self.registry = CollectorRegistry()
        self._figures: dict[str, tuple[Any, tuple[str, ...]]] = {}
        if process:
            ProcessCollector(registry=self.registry)  # memory, CPU and open files of this process

    def counter(self, name: str, doc: str, labels: Sequence[str] = ()) -> Counter:
        """A count that only grows; its name is shown with `_total`."""
        return self._figure(Counter, name, doc, labels)

    def gauge(self, name: str, doc: str, labels: Sequence[str] = ()) -> Gauge:
        """A level that goes up and down."""
        return self._figure(Gauge, name, doc, labels)

    def histogram(
        self, name: str, doc: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS
    ) -> Histogram:
        """A distribution; `buckets` are upper bounds, by default fit for seconds."""
        return self._figure(Histogram, name, doc, labels, buckets=buckets)

    def render(self) -> bytes:
        """All figures in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def _figure(self, kind: type[F], name: str, doc: str, labels: Sequence[str], **more: Any) -> F:
        if (known := self._figures.get(name)) is None:
            figure = kind(name, doc, tuple(labels), registry=self.registry, **more)
            self._figures[name] = (figure, tuple(labels))
            return figure
        if type(known[0]) is not kind or known[1] != tuple(labels):
            raise ValueError(f"{name} is already a {type(known[0]).__name__} with the labels {known[1]}")
        return known[0]


def set_up_logging(level: str = "info", form: str = "auto", stream: TextIO | None = None) -> None:
    """Send every log line of this process, third parties' too, to `stream` (stderr).

    `level`: debug, info, warning, error. `form`: json (a line an object), console, or auto (console at a terminal).
    May be repeated; loggers that have already written keep what they had. A line that cannot be written is lost.
    """
    stream = stream or sys.stderr
    console = form == "console" or (form == "auto" and stream.isatty())
    lossy: Any = _Lossy(stream)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        only_ids,
    ]
    rendering: list[Any] = (
        # Not structlog's default traceback: that one prints local variables.
        [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(lossy),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(lossy)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    silence(*LOUD)


def silence(*names: str) -> None:
    """Let these third-party loggers speak only from a warning on."""
    for name in names:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Lossy:
    """A stream that loses what it cannot write.

    structlog lets the error through to whoever logs. With stderr on the disk that is full, the warning of a cycle
    that will be tried again took the cycle's work with it, and 503 became 500.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            return 0

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            pass


def only_ids(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: collections and objects become their type, values under telling names become `***`."""
    for key, value in line.items():
        if key in _OURS:
            continue
        if key in _NEVER:
            line[key] = "***"
        elif not isinstance(value, _PLAIN):
            line[key] = f"<{type(value).__name__}>"
    return line
