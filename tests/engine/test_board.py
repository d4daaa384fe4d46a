"""The board: who is matched with what, and that nobody is forgotten on it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from engine.board import MAX_READY, Board, Poller
from engine.messages import Poll, Task
from engine.ports import OwedRow
from tests.engine.world import NOON


def row(instance: str, queue: str = "q", *, priority: int = 1, age: float = 0, attempt: int = 1) -> OwedRow:
    return OwedRow(
        namespace="default",
        instance=instance,
        key="work#1",
        kind="invoke",
        queue=queue,
        attempt=attempt,
        priority=priority,
        due_at=NOON - timedelta(seconds=age),
    )


def poller(*queues: str, room: int = 1, wait: float = 1.0, prefix: str | None = None) -> Poller:
    poll = Poll(worker="w", session="s", queues=queues, max_tasks=room, wait_seconds=wait, prefix=prefix)
    future: asyncio.Future[list[Task]] = asyncio.get_running_loop().create_future()
    return Poller(poll, future)


def matched(board: Board) -> list[tuple[Poller, str]]:
    found = []
    for waiter, ready in board.matches():
        board.reserve(waiter)
        found.append((waiter, ready.instance))
    return found


async def test_priority_then_age_then_order() -> None:
    board, taker = Board(), poller("q", room=9)
    for each in (row("old", age=5), row("urgent", priority=0), row("older", age=9), row("twin", age=9)):
        board.add(each)
    board.wait(taker)
    assert [instance for _, instance in matched(board)] == ["urgent", "older", "twin", "old"]


async def test_a_known_task_is_not_added_twice_but_its_next_attempt_is() -> None:
    board = Board()
    for each in (row("a"), row("a"), row("a", attempt=2)):
        board.add(each)
    assert board.depth("q") == 2


async def test_one_of_each_queue_in_turn_and_the_turn_goes_on_with_the_next_poll() -> None:
    board = Board()
    for number in range(4):
        for queue in ("a", "b", "c"):
            board.add(row(f"{queue}{number}", queue))
    taken = []
    for _ in range(3):
        taker = poller("a", "b", "c", room=2)
        board.wait(taker)
        taken += [instance for _, instance in matched(board)]
    assert taken == ["a0", "b0", "c0", "a1", "b1", "c1"]


async def test_a_prefix_takes_every_queue_that_begins_with_it_after_those_who_named_it() -> None:
    board, dispatcher, named = Board(), poller(prefix="http:", room=9), poller("http:a")
    board.wait(dispatcher)
    board.wait(named)
    for each in (row("1", "http:a"), row("2", "http:a"), row("3", "http:b"), row("4", "other")):
        board.add(each)
    assert matched(board) == [(named, "1"), (dispatcher, "3"), (dispatcher, "2")]
    assert board.queues_without_work() == []


async def test_a_task_put_back_keeps_its_place() -> None:
    board = Board()
    for each in (row("first", age=2), row("second", age=1)):
        board.add(each)
    taken = board.take("q")
    assert taken is not None
    board.put_back(taken)
    board.put_back(taken)
    assert board.depth("q") == 2
    assert board.take("q") == taken


async def test_a_poller_whose_task_did_not_come_is_first_again() -> None:
    board, first, second = Board(), poller("q"), poller("q")
    board.wait(first)
    board.wait(second)
    board.reserve(first)
    assert board.waiter_for("q") is second
    board.release(first)
    assert board.waiter_for("q") is first


async def test_a_poller_that_withdraws_waits_for_what_is_on_its_way_only() -> None:
    board, taker = Board(), poller("q", room=2)
    board.wait(taker)
    board.reserve(taker)
    board.dismiss([taker])
    assert not taker.future.done()
    assert board.waiter_for("q") is None
    board.release(taker)
    assert taker.future.result() == []


async def test_nothing_of_a_poller_is_kept_when_it_has_gone() -> None:
    board = Board()
    pollers = [poller("a", "b"), poller("a", prefix="http:"), poller("b"), poller("a")]
    for each in pollers:
        board.wait(each)
    board.withdraw(pollers[3])
    board.answer(pollers[0])
    board.reserve(pollers[1])
    board.refuse(pollers[1], ValueError())
    pollers[2].future.set_result([])
    assert board.waiter_for("b") is None
    assert board.everyone() == []
    assert board.queues_without_work() == []


async def test_ready_tasks_are_bounded_per_queue() -> None:
    board = Board()
    for number in range(MAX_READY + 5):
        board.add(row(str(number)))
    board.add(row("other", "another"))
    assert (board.depth("q"), board.depth("another")) == (MAX_READY, 1)
