"""What each HTTP response means to a step, without a socket."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.http_answers import (
    LONGEST_RETRY_AFTER_MS,
    MAX_DETAILS_BYTES,
    MAX_MESSAGE_CHARS,
    Response,
    interpret,
)
from domain.calls import Answer, Failed, StepError, Succeeded

NOW = datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)
PROBLEM = "application/problem+json"


def answer_to(
    status: int, body: Any = b"", *, content_type: str = "application/json", retry_after: str | None = None
) -> Answer:
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    response = Response(status=status, content_type=content_type, retry_after=retry_after, body=raw)
    return interpret("payments", response, lambda: NOW)


def failure(
    status: int, body: Any = b"", *, content_type: str = "application/json", retry_after: str | None = None
) -> Failed:
    answer = answer_to(status, body, content_type=content_type, retry_after=retry_after)
    assert isinstance(answer, Failed)
    return answer


@pytest.mark.parametrize("value", [{"paymentId": "p1"}, [1, 2.5], "text", 7, True, None])
def test_the_json_of_a_2xx_is_the_output(value: Any) -> None:
    assert answer_to(200, json.dumps(value).encode()) == Succeeded(value)


def test_the_body_decides_what_is_json_and_not_the_content_type() -> None:
    assert answer_to(201, {"a": 1}, content_type="text/plain") == Succeeded({"a": 1})


def test_an_empty_success_puts_out_null() -> None:
    assert answer_to(204) == Succeeded(None)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>OK</html>",
        b'{"a": 1',
        b'{"a": NaN}',
        b"[Infinity]",
        b"[1e400]",
        b"[9223372036854775808]",
        b"[" + b"9" * 5000 + b"]",
        b'{"a": 1, "a": 2}',
        b'{"a": "\\u0000"}',
        b'{"\\u0000": 1}',
        b'["\\ud800"]',
        b'["\xff"]',
        b"[" * 65 + b"]" * 65,
        b"[" * 100_000 + b"]" * 100_000,
        None,
    ],
    ids=lambda body: repr(body)[:24],
)
def test_a_success_that_cannot_be_stored_is_a_retryable_bad_response(body: bytes | None) -> None:
    error = failure(200, body).error
    assert (error.type, error.retryable, error.code) == ("BadResponseError", True, "200")
    assert error.message.startswith("payments answered 200, but the body")
    assert len(error.message) < 200


@pytest.mark.parametrize("body", [b"[" * 64 + b"]" * 64, b"[9223372036854775807, -9223372036854775808]"])
def test_a_success_at_the_limits_of_json_is_an_output(body: bytes) -> None:
    assert answer_to(200, body) == Succeeded(json.loads(body))


@pytest.mark.parametrize("status", [301, 302, 304, 307, 308])
def test_a_redirect_is_a_final_error_whatever_its_body_says(status: int) -> None:
    error = failure(status, {"errorType": "Other", "retryable": True}, retry_after="1").error
    assert (error.type, error.retryable, error.code) == ("UnexpectedRedirectError", False, str(status))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599])
def test_these_statuses_are_retryable(status: int) -> None:
    assert failure(status) == Failed(
        StepError(type="ServiceUnavailableError", message=f"payments answered {status}", code=str(status))
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 422])
def test_other_refusals_are_final(status: int) -> None:
    assert failure(status) == Failed(
        StepError(
            type="RequestRefusedError",
            message=f"payments answered {status}",
            retryable=False,
            code=str(status),
        )
    )


def test_a_problem_names_its_error_and_keeps_its_other_members_as_details() -> None:
    body = {
        "type": "https://errors.example/PaymentDeclinedError",
        "title": "Declined",
        "status": 422,
        "detail": "The card was declined.",
        "declineReason": "insufficient_funds",
        "instance": "/charges/9",
    }
    assert failure(422, body, content_type=PROBLEM).error == StepError(
        type="PaymentDeclinedError",
        message="The card was declined.",
        retryable=False,
        code="422",
        details={"declineReason": "insufficient_funds", "instance": "/charges/9"},
    )


@pytest.mark.parametrize(
    ("problem_type", "error_type"),
    [
        ("https://e.example/CardExpiredError", "CardExpiredError"),
        ("https://e.example/errors#CardExpiredError", "CardExpiredError"),
        ("urn:problem:card-expired", "card-expired"),
        ("/problems/CardExpiredError/", "CardExpiredError"),
        ("CardExpiredError", "CardExpiredError"),
        ("about:blank", "RequestRefusedError"),
        ("", "RequestRefusedError"),
        ("https://e.example/?q=1", "RequestRefusedError"),
        ("x" * 101, "RequestRefusedError"),
        (17, "RequestRefusedError"),
    ],
)
def test_the_last_segment_of_a_problem_type_is_the_error_type(problem_type: object, error_type: str) -> None:
    assert failure(422, {"type": problem_type}, content_type=PROBLEM).error.type == error_type


def test_type_is_only_a_problem_type_in_problem_json() -> None:
    assert failure(422, {"type": "invoice"}).error.type == "RequestRefusedError"


def test_any_json_error_may_name_its_error_type_and_that_name_goes_first() -> None:
    assert failure(422, {"errorType": "CardExpiredError"}).error.type == "CardExpiredError"
    body = {"errorType": "CardExpiredError", "type": "https://e.example/Other"}
    assert failure(422, body, content_type=PROBLEM).error.type == "CardExpiredError"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"detail": "d", "title": "t", "message": "m"}, "d"),
        ({"detail": "", "title": "t", "message": "m"}, "t"),
        ({"detail": None, "message": "m"}, "m"),
        ({"message": {"en": "m"}}, "payments answered 500"),
    ],
)
def test_the_message_is_detail_else_title_else_message(body: Any, message: str) -> None:
    assert failure(500, body).error.message == message


@pytest.mark.parametrize(
    ("code", "expected"), [("card_declined", "card_declined"), (51, "51"), (True, "400"), ({}, "400")]
)
def test_a_body_may_name_the_code(code: object, expected: str) -> None:
    assert failure(400, {"code": code}).error.code == expected


@pytest.mark.parametrize(("status", "said"), [(503, False), (422, True)])
def test_a_service_that_says_whether_to_retry_is_believed(status: int, said: bool) -> None:
    assert failure(status, {"retryable": said}).error.retryable is said


def test_a_retryable_that_is_no_boolean_says_nothing() -> None:
    assert failure(422, {"retryable": "yes"}).error.retryable is False


def test_the_words_of_a_service_are_capped() -> None:
    body = {"detail": "x" * 5000, "code": "c" * 5000, "small": 1, "big": "y" * MAX_DETAILS_BYTES, "after": 2}
    error = failure(500, body).error
    assert len(error.message) == MAX_MESSAGE_CHARS
    assert error.code == "c" * 100
    assert error.details == {"small": 1}


@pytest.mark.parametrize("body", [b"<html>Traceback (most recent call last)</html>", b"[1]", b'"text"', None])
def test_an_error_body_that_is_no_json_object_leaves_nothing_in_the_error(body: bytes | None) -> None:
    assert failure(500, body).error == StepError(
        type="ServiceUnavailableError", message="payments answered 500", code="500"
    )


@pytest.mark.parametrize(
    ("header", "expected_ms"),
    [
        ("120", 120_000),
        (" 2 ", 2_000),
        ("0", 0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30_000),
        ("Wed Oct 21 07:28:30 2026", 30_000),  # asctime, the obsolete form that names no zone
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0),
        ("999999999", LONGEST_RETRY_AFTER_MS),
        ("9" * 5000, LONGEST_RETRY_AFTER_MS),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER_MS),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, expected_ms: int | None) -> None:
    assert failure(503, retry_after=header).retry_after_ms == expected_ms


@pytest.mark.parametrize(("status", "heard"), [(429, 5_000), (500, 5_000), (422, None)])
def test_retry_after_is_heard_on_every_retryable_answer(status: int, heard: int | None) -> None:
    assert failure(status, retry_after="5").retry_after_ms == heard


@given(
    status=st.integers(200, 599),
    content_type=st.sampled_from(["application/json", PROBLEM, "text/html"]),
    retry_after=st.none() | st.text(max_size=60),
    body=st.none() | st.binary(max_size=200) | st.text('[]{}",:\\u0d8e1 ', max_size=60).map(str.encode),
)
def test_every_response_has_an_answer(
    status: int, content_type: str, retry_after: str | None, body: bytes | None
) -> None:
    response = Response(status=status, content_type=content_type, retry_after=retry_after, body=body)
    assert isinstance(interpret("payments", response, lambda: NOW), Succeeded | Failed)
