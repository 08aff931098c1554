"""What producers wrote to the events topic, as the event it means.

Law: nothing a producer can write stops a partition: what has no meaning gets a reason and becomes a dead letter. The
same record means the same event whenever it is read, so nothing here looks at a clock.
Source: contract 3 (Events in); CloudEvents 1.0.2 and its Kafka protocol binding 1.0.2, sections 3.2 and 3.3.

    key        <projectKey>:<endUserId>; with nothing behind the colon it is nobody's event
    structured content-type application/cloudevents+json, or a value that begins with `{`
    binary     headers ce_id, ce_type, ce_source, ce_specversion, ce_time; the value is the data
    protobuf   no such headers: the value is our own CustomerEvent; also as the data of a binary CloudEvent
"""

from datetime import datetime
from typing import Any

import msgspec
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.exceptions import BaseCloudEventException, CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from google.protobuf.message import DecodeError
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.domain.journey.members import free_faults
from services.infra.log.port import Stored

MAX_BYTES = 1 << 20
MAX_OWN_BYTES = 6 << 20  # what the gateway takes (5 MiB of JSON), and our envelope
MAX_ID_BYTES = 200
MAX_TYPE_BYTES = 500
_PROTOBUF = ("application/protobuf", "application/x-protobuf", "application/vnd.google.protobuf")
_FORMAT = JSONFormat()
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode  # a third of a microsecond


class Unreadable(Exception):
    """A record that is no event; `reason` is one sentence without anything of its content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _AsWritten(CloudEvent):
    """An event without the id and the time that the library would make up: read again, it is the same event."""

    def __init__(self, attributes: dict[str, Any], data: Any = None) -> None:
        for name in ("specversion", "id", "source", "type"):
            if name not in attributes:
                raise Unreadable(f"Not a CloudEvent: {name} is missing.")
        self._is_timed = "time" in attributes
        super().__init__(attributes, data)

    def get_time(self) -> datetime | None:
        """When it happened, if it says so."""
        return super().get_time() if self._is_timed else None


def event_in(stored: Stored) -> CustomerEvent:
    """The event a record holds; raises Unreadable.

    What our own service appended is told by `received_ms`, and was checked before. Anybody could write the same, so
    whether its data can be read at all is looked at again.
    """
    if len(stored.value) > MAX_BYTES:
        return _large(stored)
    if not stored.headers and stored.value[:1] != b"{":
        event = _protobuf(stored.value)
        return _own(event) if event.received_ms and event.project_key else _completed(event, stored)
    headers = {name.lower(): value for name, value in stored.headers}
    kind = headers.get("content-type", b"").decode("ascii", "replace").partition(";")[0].strip().lower()
    is_binary = any(name.startswith("ce_") for name in headers)
    if is_binary and kind in _PROTOBUF:
        event = _protobuf(stored.value)
        _take_attributes(event, _cloud_event(headers, b""))
    elif is_binary or kind.startswith("application/cloudevents") or stored.value[:1] == b"{":
        event = _from_cloud_event(_cloud_event(headers, stored.value), is_binary)
    else:
        event = _protobuf(stored.value)
        if event.received_ms and event.project_key:
            return _own(event)
    return _completed(event, stored)


def _large(stored: Stored) -> CustomerEvent:
    """Only our own service writes as much: what it answered `received` for may not end as a dead letter."""
    if len(stored.value) <= MAX_OWN_BYTES and not stored.headers and stored.value[:1] != b"{":
        try:
            event = CustomerEvent.FromString(stored.value)
        except DecodeError:
            event = CustomerEvent()
        if event.received_ms and event.project_key:
            return _own(event)
    raise Unreadable(f"The record is larger than {MAX_BYTES} bytes.")


def _own(event: CustomerEvent) -> CustomerEvent:
    if event.data_json and event.data_json != b"{}":
        try:
            _read_members(event.data_json)
        except (msgspec.DecodeError, RecursionError):
            raise Unreadable("The data is no JSON object.") from None
    return _checked(event)


def _completed(event: CustomerEvent, stored: Stored) -> CustomerEvent:
    """What the record around the event says of it; raises Unreadable."""
    _address(event, stored.key)
    event.received_ms = stored.appended_at
    if event.data_json:
        _require_plain(event.data_json)
    return _checked(event)


def _protobuf(value: bytes) -> CustomerEvent:
    try:
        return CustomerEvent.FromString(value)
    except DecodeError:
        raise Unreadable("The value is neither a CloudEvent nor a CustomerEvent.") from None


def _cloud_event(headers: dict[str, bytes], value: bytes) -> BaseCloudEvent:
    # It brings a date parser, a tenth of a second: only where somebody writes CloudEvents.
    from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka

    try:
        return from_kafka(KafkaMessage(headers, None, value), _FORMAT, _AsWritten)
    except CloudEventValidationError as error:
        raise Unreadable(f"Not a CloudEvent: {', '.join(sorted(error.errors))}.") from None
    # The library parses texts that nobody checked: whatever of the built-in errors comes out, the record is at fault.
    except (BaseCloudEventException, ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
        raise Unreadable("Not a CloudEvent of version 1.0 in JSON.") from None


def _from_cloud_event(cloud: BaseCloudEvent, is_binary: bool) -> CustomerEvent:
    event = CustomerEvent()
    _take_attributes(event, cloud)
    data = cloud.get_data()
    if isinstance(data, bytes) and not is_binary and (cloud.get_datacontenttype() or "") in _PROTOBUF:
        inner = _protobuf(data)
        inner.MergeFrom(event)
        return inner
    if data is not None:
        if not isinstance(data, dict):
            raise Unreadable("The data is no JSON object.")
        if faults := free_faults(data, ""):
            raise Unreadable(f"The data cannot be kept: {faults[0].message}")
        event.data_json = msgspec.json.encode(data)
    return event


def _take_attributes(event: CustomerEvent, cloud: BaseCloudEvent) -> None:
    event.id = str(cloud.get_id())
    event.type = str(cloud.get_type())
    if (time := cloud.get_time()) is not None:
        event.timestamp_ms = int(time.timestamp() * 1000)


def _address(event: CustomerEvent, key: str) -> None:
    """Workspace and person are those of the record's key."""
    project, colon, person = key.partition(":")
    if not colon or not project:
        raise Unreadable("The key is not <projectKey>:<endUserId>.")
    event.project_key = project
    if person:
        event.end_user_id = person
    else:
        event.ClearField("end_user_id")


def _require_plain(data: bytes) -> None:
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        raise Unreadable("The data is no JSON.") from None
    if not isinstance(value, dict):
        raise Unreadable("The data is no JSON object.")
    if faults := free_faults(value, ""):
        raise Unreadable(f"The data cannot be kept: {faults[0].message}")


def _checked(event: CustomerEvent) -> CustomerEvent:
    if not event.id or not event.type:
        raise Unreadable("An id and a type are needed.")
    if len(event.id) + len(event.end_user_id) + len(event.type) <= MAX_ID_BYTES // 4:
        return event
    for name, text, most in (
        ("id", event.id, MAX_ID_BYTES),
        ("end-user id", event.end_user_id, MAX_ID_BYTES),
        ("type", event.type, MAX_TYPE_BYTES),
    ):
        if len(text) * 4 > most and len(text.encode()) > most:
            raise Unreadable(f"The {name} is longer than {most} bytes.")
    return event
