"""Signatures are those of the Standard Webhooks specification."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import standardwebhooks

from feeds.signing import BadSecretError, key_of, new_secret, signed

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = datetime.fromtimestamp(1_614_265_330, UTC)


def test_the_vector_of_the_specification() -> None:
    assert signed(SECRET, ID, AT, b'{"test": 2432232314}') == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("body", [b"{}", '{"name": "Jürgen"}'.encode()])
def test_another_implementation_makes_the_same_of_a_new_secret(body: bytes) -> None:
    secret = new_secret()
    theirs = standardwebhooks.Webhook(secret).sign(ID, AT, body.decode())
    assert signed(secret, ID, AT, body)["webhook-signature"] == theirs


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_short", "whsec_!!!!", SECRET.removeprefix("whsec_")])
def test_what_is_no_secret_is_refused(secret: str) -> None:
    with pytest.raises(BadSecretError):
        key_of(secret)
