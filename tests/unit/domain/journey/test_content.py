"""The digest of what an arm leads to."""

from typing import Any

import pytest

from services.domain.journey.content import content_hash

STEPS: list[dict[str, Any]] = [
    {"id": "trigger", "type": "trigger", "next": "pick"},
    {"id": "pick", "type": "branch", "arms": [{"id": "a", "next": "mail"}, {"id": "b", "next": "exit"}]},
    {"id": "mail", "type": "send", "communicationId": "c1", "next": "cond", "name": "Mail"},
    {"id": "cond", "type": "branch", "branches": [{"id": "y", "next": "w"}], "default": "exit"},
    {"id": "w", "type": "wait", "duration": "P1D", "next": "exit", "onTimeout": "exit"},
    {"id": "exit", "type": "exit"},
]


def changed(step_id: str, **members: Any) -> list[dict[str, Any]]:
    return [{**step, **members} if step["id"] == step_id else step for step in STEPS]


def hashed(steps: list[dict[str, Any]], arm: str = "a", version: int = 1) -> str:
    return content_hash(steps, "pick", arm, {"c1": version})


@pytest.mark.parametrize(
    "steps",
    [changed("mail", channel="in_app_push"), changed("w", duration="P2D"), changed("cond", branches=[])],
)
def test_whatever_an_arm_leads_to_counts(steps: list[dict[str, Any]]) -> None:
    """At any depth."""
    assert hashed(STEPS) != hashed(steps)


@pytest.mark.parametrize(
    "steps",
    [
        changed("mail", name="Other"),
        changed("mail", position={"x": 1, "y": 2}),
        changed("exit", reason="shared"),
        changed("trigger", filter=None),
    ],
)
def test_what_nobody_is_shown_or_everybody_is_does_not(steps: list[dict[str, Any]]) -> None:
    """Names, places on the canvas, what every arm leads to, what lies before the branch."""
    assert hashed(STEPS) == hashed(steps)


def test_another_version_of_a_text_counts() -> None:
    """Of the arm that sends it alone."""
    assert hashed(STEPS) != hashed(STEPS, version=2)
    assert hashed(STEPS, "b") == hashed(STEPS, "b", version=2)


def test_an_arm_or_branch_that_is_not_there_has_a_digest_too() -> None:
    """That of no steps."""
    assert content_hash([], "pick", "a", {}) == hashed(STEPS, "nobody")
