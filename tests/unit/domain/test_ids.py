"""Names of things."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import ids


def test_an_execution_id_reads_like_the_documented_one() -> None:
    """The user's own example."""
    assert "act-onb-2026__v3__usr_a__evt_b" == ids.execution_id("act-onb-2026", 3, "usr_a", "evt_b")
    assert "arn:aws:states:us-east-1:0:execution:disp:x" == ids.arn_of("x")


@given(st.text(min_size=1, max_size=50), st.text(min_size=1, max_size=50), st.integers(1, 10**6))
def test_an_execution_id_can_be_taken_apart(user: str, event: str, version: int) -> None:
    """Two underscores separate without doubt, whatever the parts are made of."""
    made = ids.execution_id("act", version, user, event)

    assert ("act", version, user, event) == ids.parts_of(made)


@pytest.mark.parametrize("text", ["", "a__b", "a__v0__b__c", "a__vx__b__c", "a__v1__b__c__d"])
def test_anything_else_is_no_execution_id(text: str) -> None:
    """Raises, so that a route can answer 404."""
    with pytest.raises(ValueError):  # noqa: PT011
        ids.parts_of(text)


@given(st.integers(0, 1023), st.binary(min_size=1, max_size=64), st.text(max_size=50))
def test_a_keyed_name_is_the_slot_and_a_hash_in_base32(slot: int, secret: bytes, user: str) -> None:
    """Runtime design 1: stored names are for ever, so however they are made, they are these."""
    digest = hashlib.blake2b(user.encode(), digest_size=16, key=secret).digest()

    assert f"{slot:04x}" + base64.b32encode(digest).decode().rstrip("=").lower() == ids.subject_key(slot, secret, user)


def test_a_draw_is_the_documented_one() -> None:
    """Statistics design 2.1: the worked examples, to the last digit."""
    drawn = ids.uniform("pex.ts.v1", "jrn-demo", "2", "pick-offer", "jrn-demo__v2__usr_17__evt_900")

    assert 0.8608320060901067 == drawn
    assert 0.9976383581649624 == ids.uniform("pex.cold.v1", "jrn-demo", "pick-offer", "usr_17")
