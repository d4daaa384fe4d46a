"""What the lists answer: filters, pages that hold still while others write, and cursors that know their question."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from psycopg_pool import AsyncConnectionPool

from domain.events import Paused
from projections.catalogue import PROJECTIONS
from projections.follower import Follower
from projections.pages import MAX_PAGE, BadCursorError
from projections.queries import (
    InstanceFilters,
    InstanceSummary,
    Queries,
    TransitionFilters,
)
from tests.projections.histories import NOON, STORIES, Log, after, command, happy, mixed, started, stuck

Follow = Callable[..., Follower]


@pytest.fixture
async def queries(log: Log, views: str, follower_of: Follow) -> AsyncIterator[Queries]:
    for name in PROJECTIONS:
        follower_of(name)
    async with AsyncConnectionPool(log.database, min_size=1, max_size=2, open=False) as pool:
        yield Queries(pool, views)


@pytest.fixture
def told(log: Log, follower_of: Follow) -> Callable[..., int]:
    """Appends commands, and follows to the end of the log."""

    followers = [follower_of(name) for name in PROJECTIONS]

    def tell(commands: object) -> int:
        end = log.append(commands)  # type: ignore[arg-type]
        for follower in followers:
            while follower.advance() < end:
                pass
        return end

    return tell


async def ids(queries: Queries, **filters: object) -> set[str]:
    page = await queries.list_instances(InstanceFilters(**filters))  # type: ignore[arg-type]
    return {item.id for item in page.items}


async def test_every_filter_finds_what_it_names(queries: Queries, told: Callable[..., int]) -> None:
    told(
        [
            ("a", command(0, started(correlation_id="o-7", labels={"tier": "gold", "eu": "yes"}))),
            *[("b", events) for events in happy(definition="invoice", version="2", correlation_id="o-8")],
            *[("c", events) for events in stuck()[:3]],
            ("d", command(500, started(namespace="other", correlation_id="o-7"))),
            ("e", command(900, started(correlation_id="o-7", labels={"tier": "gold"}))),
        ]
    )
    assert await ids(queries) == {"a", "b", "c", "e"}
    assert await ids(queries, namespace="other") == {"d"}
    assert await ids(queries, statuses=["pending"]) == {"a", "e"}
    assert await ids(queries, statuses=["completed", "waiting"]) == {"b", "c"}
    assert await ids(queries, outcomes=["succeeded"]) == {"b"}
    assert await ids(queries, definition="invoice") == {"b"}
    assert await ids(queries, definition="invoice", version="1") == set()
    assert await ids(queries, correlation_id="o-7") == {"a", "e"}
    assert await ids(queries, waiting_for=["manual_resolution"]) == {"c"}
    assert await ids(queries, waiting_for=["signal", "timer"]) == set()
    assert await ids(queries, labels={"tier": "gold"}) == {"a", "e"}
    assert await ids(queries, labels={"tier": "gold", "eu": "yes"}) == {"a"}
    assert await ids(queries, created_after=after(900)) == {"e"}
    assert await ids(queries, created_before=after(900)) == {"a", "b", "c"}
    assert await ids(queries, paused=True) == set()
    assert await ids(queries, business_status="charging") == {"b", "c"}
    assert await ids(queries, business_status="shipping") == set()
    assert await ids(queries, parent="x") == set()
    assert await ids(queries, correlation_id="o-7\0") == set()


async def test_text_finds_what_an_instance_was_born_with(queries: Queries, told: Callable[..., int]) -> None:
    """Every word must be there; but for a `*` at the end of one, nothing in a search means more than itself."""
    told(
        [
            ("0-abc", command(0, started(input={"customer": {"name": "Ada Lovelace"}, "amount": 1200}))),
            (
                "0-def",
                command(1, started(input=["100% 'wool' \\", "Müller & Söhne"], correlation_id="order-17")),
            ),
        ]
    )
    assert await ids(queries, text="lovelace") == {"0-abc"}
    assert await ids(queries, text="LOVE* ada") == {"0-abc"}
    for nothing in ("lace", "love", "*lace", "l*e", "*"):
        assert await ids(queries, text=nothing) == set(), nothing
    assert await ids(queries, text="order-17") == {"0-def"}
    assert await ids(queries, text="premium") == {"0-abc", "0-def"}
    assert await ids(queries, text="müll*") == {"0-def"}
    assert await ids(queries, text="1200") == {"0-abc"}
    assert await ids(queries, text="0-abc") == {"0-abc"}
    assert await ids(queries, text="100%") == {"0-def"}
    assert await ids(queries, text="!ada") == {"0-abc"}
    for nothing in ("%lace", "_ovelace", "'x' | 'ada'", "wool' | 'ada", "\\", "\0", "%"):
        assert await ids(queries, text=nothing) == set(), nothing


async def test_an_instance_in_a_list_has_the_fields_of_the_wire(
    queries: Queries, told: Callable[..., int]
) -> None:
    end = told([("i1", events) for events in happy()])
    page = await queries.list_instances(InstanceFilters())
    assert page.position == end
    assert page.next is None
    assert page.items == [
        InstanceSummary(
            id="i1",
            namespace="default",
            definition_name="order",
            definition_version="1",
            correlation_id="o-1",
            status="completed",
            outcome="succeeded",
            waiting_for=[],
            business_status="charging",
            current_step=None,
            paused=False,
            priority="normal",
            labels={"tier": "premium", "region": "eu"},
            error=None,
            result={"total": 12.5},
            parent=None,
            version=11,
            created_at="2026-11-23T12:00:00.000000Z",
            start_at=None,
            started_at="2026-11-23T12:00:00.000000Z",
            completed_at="2026-11-23T12:00:04.250000Z",
            timeout_at=None,
            updated_at="2026-11-23T12:00:04.250000Z",
        )
    ]


async def test_pages_hold_still_while_others_write(queries: Queries, told: Callable[..., int]) -> None:
    told([(f"i{number:03}", command(number // 3, started())) for number in range(50)])  # Three at a time.
    expected = [f"i{number:03}" for number in reversed(range(50))]
    seen: list[str] = []
    cursor: str | None = None
    for turn in range(99):
        page = await queries.list_instances(InstanceFilters(), limit=7, cursor=cursor)
        seen.extend(item.id for item in page.items)
        cursor = page.next
        if cursor is None:
            break
        told([(f"new{turn}", command(1000 + turn, started()))])  # Newer than all: before the first page.
        told([(f"i{turn:03}", command(2000, Paused()))])  # And one that is listed changes.
    assert seen == expected


async def test_a_page_is_never_larger_than_its_limit(queries: Queries, told: Callable[..., int]) -> None:
    told([(f"i{number:05}", command(number, started())) for number in range(MAX_PAGE + 5)])
    assert len((await queries.list_instances(InstanceFilters(), limit=10**9)).items) == MAX_PAGE
    page = await queries.list_instances(InstanceFilters(), limit=-3)
    assert len(page.items) == 1
    assert page.next is not None


async def test_a_cursor_of_another_question_is_refused(queries: Queries, told: Callable[..., int]) -> None:
    told(mixed(8))
    page = await queries.list_instances(InstanceFilters(statuses=["completed"]), limit=1)
    assert page.next is not None
    again = await queries.list_instances(InstanceFilters(statuses=["completed"]), limit=2, cursor=page.next)
    assert again.items
    for other in (InstanceFilters(), InstanceFilters(statuses=["completed"], namespace="other")):
        with pytest.raises(BadCursorError, match="another question"):
            await queries.list_instances(other, cursor=page.next)
    with pytest.raises(BadCursorError):
        await queries.list_transitions(TransitionFilters(), cursor=page.next)


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "äöü",
        "====",
        "bm9uc2Vuc2U",
        base64.urlsafe_b64encode(b'["q",["2026-01-01T00:00:00Z","a\\u0000"]]').decode(),
    ],
)
async def test_a_cursor_that_is_none_is_refused(cursor: str, queries: Queries) -> None:
    with pytest.raises(BadCursorError, match="none of ours"):
        await queries.list_instances(InstanceFilters(), cursor=cursor)
    with pytest.raises(BadCursorError, match="none of ours"):
        await queries.list_transitions(TransitionFilters(), cursor=cursor)


async def test_instances_are_counted_by_status(queries: Queries, told: Callable[..., int]) -> None:
    told([*mixed(2 * len(STORIES)), ("p", command(0, started(definition="other")))])
    assert await queries.count_by_status() == {
        "completed": 14,
        "failed": 4,
        "pending": 1,
        "running": 2,
    }
    assert await queries.count_by_status(definition="other") == {"pending": 1}
    assert await queries.count_by_status("nowhere") == {}


async def test_transitions_are_listed_across_instances_with_reason_and_actor(
    queries: Queries, told: Callable[..., int]
) -> None:
    end = told(mixed(18))
    everything = (await queries.list_transitions(TransitionFilters(), limit=1000)).items
    assert [entry.position for entry in everything] == sorted((e.position for e in everything), reverse=True)
    assert all(entry.reason for entry in everything)

    paged, cursor = [], None
    for _ in range(99):
        page = await queries.list_transitions(TransitionFilters(), limit=4, cursor=cursor)
        assert page.position == end
        paged += page.items
        cursor = page.next
        if cursor is None:
            break
    assert paged == everything

    async def some(**filters: object) -> list[tuple[str, str, str | None]]:
        page = await queries.list_transitions(TransitionFilters(**filters), limit=1000)  # type: ignore[arg-type]
        return [(entry.from_status, entry.to, entry.actor) for entry in page.items]

    assert set(await some(to_status="failed", from_status="compensating")) == {
        ("compensating", "failed", "bob")
    }
    assert len(await some(instance="i0000")) == 2
    assert len(await some(actor="carol")) == 4
    assert await some(definition="nothing") == []
    assert len(await some(at_after=NOON + timedelta(seconds=100))) == 4
    assert await some(at_before=NOON) == []


async def test_step_executions_stand_in_the_order_in_which_they_began(
    queries: Queries, told: Callable[..., int]
) -> None:
    told(mixed(8))
    page = await queries.list_step_executions("i0003")  # The compensated one.
    told_of = [(step.execution, step.kind, step.status, step.compensated_by) for step in page.items]
    assert told_of == [
        ("charge#1", "task", "compensated", "charge#1/undo"),
        ("isPaid#1", "decision", "completed", None),
        ("ship#1", "task", "failed", None),
        ("charge#1/undo", "undo", "completed", None),
    ]
    ship = page.items[2]
    assert (ship.attempt, ship.retry_count, ship.duration_ms) == (1, 1, 2000)
    assert ship.error == {
        "type": "ServiceUnavailableError",
        "message": "try again",
        "code": "ServiceUnavailableError",
        "retryCount": 1,
    }
    assert (await queries.list_step_executions("nobody")).items == []
