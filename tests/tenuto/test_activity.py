"""Activities as functions, and what becomes of their inputs, outputs and errors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

import tenuto
from tenuto import Activity, ActivityError, activity
from tenuto.conversion import arguments_of, error_text, output_text
from tenuto.durations import to_seconds, to_text

if TYPE_CHECKING:
    from decimal import Context as Unseen


class Address(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    post_code: str


@dataclass
class Parcel:
    weight: Decimal
    packed_at: datetime


def test_a_decorated_function_stays_a_function() -> None:
    @activity
    def add(a: int, b: int = 1) -> int:
        """Adds."""
        return a + b

    assert add(1, b=2) == 3
    assert (add.name, add.__doc__) == ("add", "Adds.")
    assert add.action == "worker:default/add"


def test_names_and_queues_make_the_action() -> None:
    @activity(name="order-confirmation", queue="notifications")
    async def confirm() -> None: ...

    assert confirm.action == "worker:notifications/order-confirmation"
    assert confirm.name == "order-confirmation"


def test_plain_parameters_take_the_input_as_it_is() -> None:
    def bare(x): ...  # type: ignore[no-untyped-def]

    def plain(x: dict[str, Any]) -> None: ...

    def anything(x: Any) -> None: ...

    def nothing() -> None: ...

    value = {"a": [1]}
    for function in (bare, plain, anything):
        assert arguments_of(Activity(function))(value) == (value,)
    assert arguments_of(Activity(nothing))(value) == ()


def test_typed_parameters_are_validated_from_json() -> None:
    def send(address: Address) -> None: ...

    def weigh(parcel: Parcel) -> None: ...

    def count(n: int) -> None: ...

    assert arguments_of(Activity(send))({"postCode": "53111"}) == (Address(post_code="53111"),)
    (parcel,) = arguments_of(Activity(weigh))({"weight": "1.10", "packed_at": "2026-01-01T00:00:00Z"})
    assert parcel == Parcel(Decimal("1.10"), datetime(2026, 1, 1, tzinfo=UTC))
    assert arguments_of(Activity(count))(3) == (3,)


def test_input_that_does_not_fit_says_where() -> None:
    def send(address: Address) -> None: ...

    with pytest.raises(ActivityError) as caught:
        arguments_of(Activity(send))({"postCode": 5})
    assert caught.value.type == "ActivityInputError"
    assert not caught.value.retryable
    assert caught.value.message == "send: postCode: Input should be a valid string"
    assert caught.value.details == {
        "problems": [{"path": ["postCode"], "message": "Input should be a valid string"}]
    }


def test_an_annotation_that_cannot_be_read_is_told_when_the_worker_is_made() -> None:
    def odd(x: Unseen) -> None: ...

    with pytest.raises(TypeError, match="module level"):
        arguments_of(Activity(odd))


def test_outputs_become_json() -> None:
    parcel = Parcel(Decimal("1.10"), datetime(2026, 1, 1, tzinfo=UTC))
    assert json.loads(output_text({"a": [1, None]})) == {"a": [1, None]}
    assert json.loads(output_text(Address(post_code="1"))) == {"postCode": "1"}
    assert json.loads(output_text([parcel])) == [{"weight": "1.10", "packed_at": "2026-01-01T00:00:00Z"}]
    assert output_text(None) == "null"


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    "value",
    [float("nan"), {"a": float("inf")}, Parcel(Decimal(1), float("nan")), object(), _circle()],  # type: ignore[arg-type]
    ids=["nan", "infinity", "nan inside", "object", "circle"],
)
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(ActivityError) as caught:
        output_text(value)
    assert (caught.value.type, caught.value.retryable) == ("ActivityOutputError", False)


def test_an_error_keeps_its_type_even_when_its_details_are_odd() -> None:
    error = ActivityError("OddError", "odd", details={"o": object}, retry_after="5s")
    body = json.loads(error_text(error))
    assert (body["type"], body["retryAfter"], body["retryable"]) == ("OddError", "5s", True)
    assert "object" in body["details"]["text"]


def test_a_context_belongs_to_a_running_activity() -> None:
    with pytest.raises(RuntimeError, match="no activity is running"):
        tenuto.current()


@pytest.mark.parametrize(
    ("text", "seconds"), [("100ms", 0.1), ("30s", 30), ("5m", 300), ("1.5h", 5400), ("2d", 172800), (7, 7)]
)
def test_durations_read_as_on_the_wire(text: str | int, seconds: float) -> None:
    assert to_seconds(text) == pytest.approx(seconds)


def test_durations_are_written_as_on_the_wire() -> None:
    assert (to_text(1.5), to_text("PT30S")) == ("1500ms", "PT30S")
    with pytest.raises(ValueError, match="no duration"):
        to_seconds("30")
