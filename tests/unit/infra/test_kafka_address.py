"""One URI for a Kafka cluster."""

import pytest

from services.infra.log.kafka_address import KafkaAddress, read_address


def test_the_shortest_address_has_the_usual_values() -> None:
    """A host and a port."""
    assert KafkaAddress(("localhost:9092",)) == read_address("kafka://localhost:9092")


def test_everything_can_be_said() -> None:
    """Several brokers, a prefix, how many of what, and who we are."""
    found = read_address(
        "kafka://ann:p%40ss@one:9092,two:9093/prod?partitions=32&replication=3&instance=worker-1"
        "&security=SASL_PLAINTEXT&mechanism=SCRAM-SHA-512"
    )

    assert (
        KafkaAddress(
            ("one:9092", "two:9093"), "prod", 32, 3, "worker-1", "SASL_PLAINTEXT", "SCRAM-SHA-512", "ann", "p@ss"
        )
        == found
    )


def test_a_prefix_stands_before_topics_and_groups() -> None:
    """With a dot between."""
    assert ("prod.journeys.events.v1", "journeys.events.v1") == (
        read_address("kafka://h:1/prod").stored("journeys.events.v1"),
        read_address("kafka://h:1").stored("journeys.events.v1"),
    )


def test_a_password_is_in_no_repr() -> None:
    """It would end in a log."""
    assert "secret" not in repr(read_address("kafka://ann:secret@h:1"))


@pytest.mark.parametrize(
    ("uri", "faults"),
    [
        ("kafka://", 1),
        ("http://h:1", 1),
        ("kafka://h", 1),
        ("kafka://h:1,i", 1),
        ("kafka://h:1?partitions=12", 1),
        ("kafka://h:1?partitions=128&replication=0&topic=x", 3),
        ("kafka://h:1?security=TLS", 1),
        ("kafka://ann:p@h:1?security=SSL", 1),
        ("kafka://h:1?security=SASL_SSL", 1),
        ("kafka://ann:p@h:1?mechanism=GSSAPI", 1),
        ("kafka://h:1?ca=/ca.pem", 1),
        ("kafka://h:1?security=SSL&key=/key.pem", 1),
    ],
)
def test_every_fault_is_said_at_once(uri: str, faults: int) -> None:
    """In one message."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  which faults they are is for people to read
        read_address(uri)

    assert faults == len(str(caught.value).split("; "))
