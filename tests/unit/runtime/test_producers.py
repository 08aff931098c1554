"""What a record on the events topic means, whoever wrote it, and how."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from journeys.events.v1.customer_event_pb2 import CustomerEvent

from services.infra.log.port import Stored
from services.runtime.producers import MAX_BYTES, Unreadable, event_in

AT = 1_777_554_000_000
ATTRIBUTES = {
    "id": "e-1",
    "type": "order.placed",
    "source": "/shop",
    "datacontenttype": "application/json",
}


def stored(value: bytes, headers: dict[str, bytes] | None = None, key: str = "pk_demo:usr_a") -> Stored:
    return Stored("journeys.events.v1", 3, 17, key, value, tuple((headers or {}).items()), AT)


def written(message: KafkaMessage, key: str = "pk_demo:usr_a") -> Stored:
    return stored(message.value, message.headers, key)


def cloud_event(data: Any = None, **more: Any) -> CloudEvent:
    return CloudEvent({**ATTRIBUTES, "time": datetime(2026, 4, 30, 13, 0, 0, 250_000, tzinfo=UTC), **more}, data)


def test_binary_and_structured_mean_the_same() -> None:
    """Attributes of the envelope, workspace and person of the key, received when it was appended."""
    event = cloud_event({"orderId": "o-1", "lines": [1, 2]})
    binary = event_in(written(to_binary_event(event)))
    structured = event_in(written(to_structured_event(event)))

    assert binary == structured
    assert ("e-1", "order.placed", "pk_demo", "usr_a") == (
        binary.id,
        binary.type,
        binary.project_key,
        binary.end_user_id,
    )
    assert {"orderId": "o-1", "lines": [1, 2]} == json.loads(binary.data_json)
    assert AT == binary.received_ms
    assert 1_777_554_000_250 == binary.timestamp_ms


def test_a_plain_console_producer_needs_no_headers() -> None:
    """A value that begins with a brace is a structured CloudEvent."""
    value = {
        "specversion": "1.0",
        "id": "e",
        "type": "t",
        "source": "/",
        "time": "2026-04-30T13:00:00.250Z",
        "data": {},
    }
    event = event_in(stored(json.dumps(value).encode()))

    assert ("e", "t", 1_777_554_000_250) == (event.id, event.type, event.timestamp_ms)


def test_an_event_without_a_time_has_none() -> None:
    """Nothing makes one up: read again, it is the same event."""
    value = b'{"specversion":"1.0","id":"e","type":"t","source":"/"}'

    assert not event_in(stored(value)).HasField("timestamp_ms")
    assert event_in(stored(value)) == event_in(stored(value))


def test_our_own_message_may_be_the_data() -> None:
    """Binary mode with protobuf: the attributes of the envelope win, the data is the message's."""
    inner = CustomerEvent(id="inner", type="other", data_json=b'{"a": 1}', timestamp_ms=5)
    headers = {
        "ce_specversion": b"1.0", "ce_id": b"e-2", "ce_type": b"t", "ce_source": b"/s",
        "content-type": b"application/protobuf",
    }  # fmt: skip
    event = event_in(stored(inner.SerializeToString(), headers))

    assert ("e-2", "t", b'{"a": 1}', 5) == (event.id, event.type, event.data_json, event.timestamp_ms)


def test_our_own_message_alone_will_do() -> None:
    """What it leaves out is the key's; what it claims to have been received is not believed without a workspace."""
    event = event_in(stored(CustomerEvent(id="e", type="t", received_ms=1).SerializeToString()))

    assert ("pk_demo", "usr_a", AT) == (event.project_key, event.end_user_id, event.received_ms)


def test_what_our_service_appended_is_taken_as_it_is() -> None:
    """Nobody's event lies under its id; its key is no person's."""
    ours = CustomerEvent(id="e", type="t", project_key="pk_demo", received_ms=7, data_json=b"{}")
    event = event_in(stored(ours.SerializeToString(), key="pk_demo:e"))

    assert ours == event
    assert not event.HasField("end_user_id")


def test_what_our_service_took_may_be_large() -> None:
    """An event of up to 5 MiB was answered `received`; from anybody else as much is none."""
    data = b'{"text":"' + b"x" * 5_200_000 + b'"}'
    own = CustomerEvent(id="e-1", type="t", project_key="pk_demo", received_ms=AT, data_json=data)
    foreign = CustomerEvent(id="e-1", type="t", data_json=data)

    assert own == event_in(stored(own.SerializeToString()))
    with pytest.raises(Unreadable, match="larger"):
        event_in(stored(foreign.SerializeToString()))


def test_a_key_without_a_person_makes_nobodys_event() -> None:
    """The colon has to be there."""
    event = event_in(written(to_structured_event(cloud_event({}, subject="usr_z")), key="pk_demo:"))

    assert not event.HasField("end_user_id")


def test_a_person_may_hold_a_colon() -> None:
    """The first one separates."""
    assert "a:b" == event_in(written(to_structured_event(cloud_event()), key="pk_demo:a:b")).end_user_id


@pytest.mark.parametrize("key", ["", "pk_demo", ":usr_a"])
def test_a_key_that_names_no_workspace_is_refused(key: str) -> None:
    """Nothing else says whose event it is."""
    with pytest.raises(Unreadable, match="key"):
        event_in(written(to_structured_event(cloud_event()), key=key))


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (b"\xff\xfe garbage", {}, "neither"),
        (b"", {}, "id and a type"),
        (b"{", {}, "Not a CloudEvent"),
        (b"[1]", {"content-type": b"application/cloudevents+json"}, "Not a CloudEvent"),
        (b"{}", {}, "specversion is missing"),
        (b'{"specversion":"1.0","type":"t","source":"/"}', {}, "id is missing"),
        (b'{"specversion":"0.9","id":"e","type":"t","source":"/"}', {}, "Not a CloudEvent"),
        (b'{"specversion":"1.0","id":"e","type":"t","source":"/","time":"soon"}', {}, "Not a CloudEvent"),
        (b'{"specversion":"1.0","id":7,"type":"t","source":"/"}', {}, "Not a CloudEvent"),
        (b'{"specversion":"1.0","id":"e","type":"t","source":"/","data":[1]}', {}, "no JSON object"),
        (b'{"specversion":"1.0","id":"e","type":"t","source":"/","data":{"n":NaN}}', {}, "not finite"),
        (b'{"specversion":"1.0","id":"e","type":"t","source":"/","data":{"n":9223372036854775808}}', {}, "64 bits"),
        (b'{"specversion":"1.0","id":"e","type":"t","source":"/","data":{"n":"\\ud800"}}', {}, "surrogate"),
        (b"[" * 100_000, {"content-type": b"application/cloudevents+json"}, "Not a CloudEvent"),
        (b"x" * (MAX_BYTES + 1), {}, "larger"),
        (b"{bad", {"ce_specversion": b"1.0", "ce_id": b"e", "ce_type": b"t", "ce_source": b"/"}, "no JSON object"),
        (b"{}", {"ce_specversion": b"1.0", "ce_id": b"\xff", "ce_type": b"t", "ce_source": b"/"}, "Not a CloudEvent"),
    ],
)
def test_what_is_no_event_has_a_reason(value: bytes, headers: dict[str, bytes], reason: str) -> None:
    """The reason says nothing of what was in it."""
    with pytest.raises(Unreadable, match=reason):
        event_in(stored(value, headers))


@pytest.mark.parametrize(("member", "most"), [("id", 200), ("type", 500)])
def test_an_id_or_type_has_its_length(member: str, most: int) -> None:
    """In bytes of UTF-8."""
    event_in(written(to_structured_event(cloud_event(**{member: "x" * most}))))
    with pytest.raises(Unreadable, match="longer"):
        event_in(written(to_structured_event(cloud_event(**{member: "ü" * (most // 2 + 1)}))))


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=200),
    st.dictionaries(
        st.sampled_from(["ce_id", "ce_type", "ce_time", "ce_specversion", "content-type"]), st.binary(max_size=30)
    ),
    st.text(max_size=20),
)
def test_no_bytes_stop_a_partition(value: bytes, headers: dict[str, bytes], key: str) -> None:
    """Whatever they are, they are an event or have a reason."""
    try:
        read = event_in(stored(value, headers, key)).id
    except Unreadable as error:
        read = error.reason
    assert read
