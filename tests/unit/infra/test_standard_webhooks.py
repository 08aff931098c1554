"""Signatures are those of the Standard Webhooks convention."""

import base64

import pytest

from services.infra.standard_webhooks import BadSecret, key_of, signature, signed_headers

# The vector of the convention's own libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_conventions_own_example_is_signed_as_there() -> None:
    assert SIGNATURE == signature(ID, "1614265330", BODY, SECRET)


def test_the_headers_name_key_time_and_signature() -> None:
    """The idempotency key is the id; the time is in whole seconds."""
    expected = {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
        "Idempotency-Key": ID,
    }
    assert expected == signed_headers(ID, 1_614_265_330_999, BODY, SECRET)


def test_without_a_secret_there_is_no_signature() -> None:
    assert "webhook-signature" not in signed_headers(ID, 0, BODY, None)


def test_a_raw_secret_is_the_key_itself() -> None:
    """Text that looks like base64 but is not announced as such is text."""
    assert b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" == key_of("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert "schlüssel".encode() == key_of("schlüssel")


def test_a_missing_padding_is_added() -> None:
    assert b"a" * 25 == key_of("whsec_" + base64.b64encode(b"a" * 25).decode().rstrip("="))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!", "whsec_ä", "whsec_a"])
def test_a_secret_nobody_can_sign_with_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(BadSecret) as caught:
        key_of(secret)

    assert "!!!" not in str(caught.value)
