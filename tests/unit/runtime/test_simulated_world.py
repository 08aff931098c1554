"""What a dry run makes of messages and calls, and what it keeps of them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from services.domain.execution import admission
from services.domain.execution.execution import Execution
from services.domain.execution.simulate import SENT
from services.domain.execution.triggers import Profile
from services.domain.journey.model import Send, Webhook
from services.domain.messaging.masking import Mask
from services.runtime import simulated_world
from services.runtime.catalogue_records import PinnedCommunication
from services.runtime.simulated_world import SimulatedWorld
from tests.support.walking import EXIT, T0, TRIGGER, occasion, version_of

ANN = Profile("usr_a", {"firstName": "Ann"}, email="ann@example.com", mobile_push=("token-of-ann",))
MAIL = {"subject": "Hi {{ subject.firstName }}", "body": "<p>{{ subject.email }} {{ preferences_url }}</p>"}


def a_world(content: Mapping[str, Any] = MAIL, channel: str = "email") -> SimulatedWorld:
    """A world with one communication."""
    pinned = PinnedCommunication("c1", 1, "c1", channel, "marketing", content)
    return SimulatedWorld({"c1": pinned}, "Activation", Mask(["Ann", "ann@example.com"], is_real=True))


@pytest.fixture
def execution() -> Execution:
    """An execution of Ann's."""
    version = version_of([{**TRIGGER, "next": "exit"}, EXIT])
    return admission.fresh(version, occasion(), "usr_a", slot=1, subject_secret=b"0" * 32, goal=None, now=T0)


def send(step_id: str = "m", channel: str = "email") -> Send:
    """A send step."""
    return Send(step_id, channel, "c1", "exit")


def test_a_message_is_shown_masked_and_its_link_opens_nobodys_page(execution: Execution) -> None:
    """Subject, body and address."""
    world = a_world()
    answer = world.send(execution, "m-1", send(), ANN, T0)

    assert SENT == answer
    assert ("Hi A***", ["a***@e***.com"]) == (world.rendered["m"]["subject"], world.rendered["m"]["to"])
    assert "<p>a***@e***.com https://example.com/preferences/dry-run</p>" == world.rendered["m"]["body"]


def test_a_token_is_masked_like_an_address(execution: Execution) -> None:
    """mobile_push."""
    world = a_world({"title": "t", "body": "b"}, "mobile_push")
    world.send(execution, "m-1", send(channel="mobile_push"), ANN, T0)

    assert ["t***"] == world.rendered["m"]["to"]


def test_what_cannot_be_rendered_fails_as_it_would(execution: Execution) -> None:
    """With the template's own fault."""
    world = a_world({"subject": "{{ 1 | divided_by: 0 }}"})
    answer = world.send(execution, "m-1", send(), ANN, T0)

    assert ("failed", {"m": "cannot_render"}) == (answer.state, world.failed)
    assert world.rendered["m"]["error"].startswith("subject: ")


def test_a_webhook_is_shown_with_what_it_would_carry(execution: Execution) -> None:
    """JSON with its types, strings filled and masked."""
    world = a_world()
    step = Webhook(
        "h", "https://x.example/{{ subject.firstName }}", "exit", body={"n": 1, "who": "{{ subject.email }}"}
    )
    world.call(execution, "h-1", step, ANN, T0)

    assert {"method": "POST", "url": "https://x.example/A***", "body": {"n": 1, "who": "a***@e***.com"}} == (
        world.rendered["h"]
    )


def test_beyond_the_limits_messages_count_as_sent_without_being_made(
    execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether of size or of time."""
    monkeypatch.setattr(simulated_world, "MOST_KEPT", 10)
    large = a_world({"subject": "x" * 20})
    slow = replace(a_world(), clock=iter(range(0, 1000, 6)).__next__)
    for world in (large, slow):
        assert SENT == world.send(execution, "m-1", send(), ANN, T0)
        assert SENT == world.send(execution, "m2-1", send("m2"), ANN, T0)
        assert {"truncated": True} == world.rendered["m2"]
        assert {} == world.failed
