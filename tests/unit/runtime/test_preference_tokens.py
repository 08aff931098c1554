"""Tokens of links: whoever has not the secret can make none, and a changed one is none."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.times import DAY_MS
from services.runtime.preference_tokens import (
    LIFE_DAYS,
    MAX_TOKEN,
    BadToken,
    claim_of,
    token_of,
    workspace_in,
)

NOW = 1_777_554_000_000
SECRET, OTHER = b"s" * 32, b"o" * 32
IDS = st.text(min_size=1, max_size=50)


@given(workspace=IDS, end_user_id=IDS, channel=st.sampled_from(["email", "mobile_push"]))
def test_a_token_says_what_it_was_made_of(workspace: str, end_user_id: str, channel: str) -> None:
    """Whatever the ids are; it fits into a path as it is."""
    token = token_of(SECRET, workspace, end_user_id, channel, NOW)
    claim = claim_of(SECRET, token)

    assert (workspace, end_user_id, channel) == (claim.workspace, claim.end_user_id, claim.channel)
    assert workspace == workspace_in(token)
    assert token.replace("-", "").replace("_", "").isalnum()


def test_it_is_good_for_its_days() -> None:
    """At least 400, and the same all day, so that a repeated rendering is the same."""
    token = token_of(SECRET, "pk", "ann", "email", NOW)
    claim = claim_of(SECRET, token)

    assert LIFE_DAYS * DAY_MS <= claim.expires_at - NOW <= (LIFE_DAYS + 1) * DAY_MS
    assert token == token_of(SECRET, "pk", "ann", "email", NOW + 60_000)


def test_ids_of_the_longest_kind_fit() -> None:
    """200 bytes each, and a project key of 63."""
    assert len(token_of(SECRET, "p" * 63, "\U0001f600" * 50, "in_app_push", NOW)) < MAX_TOKEN


def test_another_workspace_s_secret_makes_no_token_of_ours() -> None:
    """Nor does a secret that is a byte off."""
    token = token_of(OTHER, "pk", "ann", "email", NOW)

    with pytest.raises(BadToken):
        claim_of(SECRET, token)


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_changed_token_is_none(at: int, bit: int) -> None:
    """Any bit of it."""
    token = token_of(SECRET, "pk", "ann", "email", NOW)
    body = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    body[at % len(body)] ^= 1 << bit
    forged = base64.urlsafe_b64encode(bytes(body)).decode().rstrip("=")

    with pytest.raises(BadToken):
        claim_of(SECRET, forged)


@given(end_user_id=IDS, last=st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="))
def test_one_token_has_one_spelling(end_user_id: str, last: str) -> None:
    """Base64 has idle bits at its end: what differs in them is refused."""
    token = token_of(SECRET, "pk", end_user_id, "email", NOW)

    if last != token[-1]:
        for other in (token[:-1] + last, token + last):
            with pytest.raises(BadToken):
                claim_of(SECRET, other)


@given(st.text(max_size=300))
def test_nonsense_is_no_token(text: str) -> None:
    """And raises nothing else."""
    with pytest.raises(BadToken):
        claim_of(SECRET, text)


@pytest.mark.parametrize("text", ["", "a", "=", "é", "A" * 50, "A" * (MAX_TOKEN + 1), " " * 60])
def test_what_cannot_be_one_is_refused(text: str) -> None:
    """Too short, too long, no base64, no bytes of ours."""
    with pytest.raises(BadToken):
        workspace_in(text)
