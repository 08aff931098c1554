"""The stand-in for a server, which users' own tests rest on."""

import pytest

from journeys_client import Client, MockTransport, Problem


def test_answers_are_given_in_order_and_the_last_one_stays() -> None:
    """So a test can tell a story."""
    transport = MockTransport()
    transport.on("GET", "/api/me", json={"role": "viewer"})
    transport.on("GET", "/api/me", json={"role": "owner"})
    with Client(transport=transport) as client:
        roles = [client.session.me()["role"] for _ in range(3)]

    assert ["viewer", "owner", "owner"] == roles
    assert 3 == len(transport.asked("GET", "/api/me"))


def test_a_route_that_is_not_in_the_table_is_missing() -> None:
    """As on the server; a star stands for one segment only."""
    transport = MockTransport()
    transport.on("GET", "/api/journeys/*", json={"id": "a"})
    with Client(transport=transport) as client:
        assert "a" == client.journeys.get("x%/y")["id"]
        with pytest.raises(Problem, match="not_found"):
            client.journeys.step_stats("x")
