"""What followers of one process read together: once, with the same outcome, and each with its own faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from domain.events import AlertAcknowledged, AlertRaised
from projections import log as reading
from projections.catalogue import PROJECTIONS
from projections.follower import Follower, Site, window_of
from projections.log import UnreadableEventError
from projections.window import KEPT
from tests.projections.conftest import Lines
from tests.projections.histories import Log, command, happy, late, mixed

Together = Callable[..., dict[str, Follower]]
Read = Callable[[str, str], Lines]


@pytest.fixture
def together(site: Site) -> Iterator[Together]:
    """Prepared followers of all projections, or of those named, with one window."""
    opened: list[Follower] = []

    def follow(*names: str, **changes: Any) -> dict[str, Follower]:
        chosen = {name: PROJECTIONS[name] for name in names or PROJECTIONS}
        window = window_of(site, chosen)
        found = {
            name: Follower(site._replace(**changes), factory, window) for name, factory in chosen.items()
        }
        for follower in found.values():
            opened.append(follower)
            assert follower.prepare()
        return found

    yield follow
    for follower in opened:
        follower.close()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The position after which each reading of the log began."""
    begun: list[int] = []

    def read(*arguments: Any, **keywords: Any) -> reading.Batch:
        begun.append(keywords["after"])
        return original(*arguments, **keywords)

    original = reading.read
    monkeypatch.setattr(reading, "read", read)
    return begun


def stored(log: Log, views: str, name: str) -> int:
    query = sql.SQL("SELECT position FROM {} WHERE projection = {}").format(
        sql.Identifier(views, "positions"), sql.Literal(name)
    )
    with psycopg.connect(log.database) as connection:
        row: tuple[int] | None = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_a_batch_is_read_once_for_all(log: Log, together: Together, reads: list[int]) -> None:
    end = log.append(mixed(20))
    followers = together(batch=50)
    behind = list(followers.values())
    while behind:
        behind = [follower for follower in behind if follower.advance(lazily=True) < end]
    assert reads == list(range(0, end, 50))


@pytest.mark.parametrize("lazily", [True, False])
def test_together_they_say_what_each_says_alone(
    lazily: bool,
    log: Log,
    views: str,
    together: Together,
    follower_of: Callable[..., Follower],
    lines: Read,
) -> None:
    end = log.append([*mixed(20), *[("late", events) for events in late()], *mixed(20, seed=2, prefix="j")])
    followers = together(batch=7)
    behind = list(followers.values())
    while behind:  # The first goes two steps where the others go one, so they meet at different places.
        if behind[0].place().position < end:
            behind[0].advance(lazily=lazily)
        behind = [follower for follower in behind if follower.advance(lazily=lazily) < end]
    for name in PROJECTIONS:
        alone = follower_of(name, views=f"{views}_{name}")
        while alone.advance() < end:
            pass
        assert lines(views, name) == lines(f"{views}_{name}", name), name


def test_one_that_is_too_far_behind_reads_by_itself(log: Log, together: Together, reads: list[int]) -> None:
    end = log.append(mixed(20))
    followers = together("instances", "transitions", batch=10)
    for _ in range(KEPT + 2):
        followers["instances"].advance()
    assert followers["transitions"].advance() == 10
    assert reads == [0, 10, 20, 30, 40, 50, 0]
    while followers["transitions"].advance() < end:
        pass


def test_what_is_for_none_of_its_rows_is_passed_over_without_a_write(
    log: Log, views: str, together: Together, lines: Read
) -> None:
    alert = {"alert_id": "charge#1/late", "severity": "high", "step": "charge", "action": "none"}
    log.append([("i1", events) for events in happy()])
    followers = together("instances", "alerts", batch=4)
    end = log.end()
    while followers["instances"].advance(lazily=True) < end:
        followers["alerts"].advance(lazily=True)
    while followers["alerts"].advance(lazily=True) < end:
        pass
    assert followers["alerts"].place() == (end, end)
    assert stored(log, views, "alerts") <= 4  # What it read first itself.

    last = log.append([("i1", command(50, AlertRaised(**alert, message="late")))])  # type: ignore[arg-type]
    assert followers["alerts"].advance(lazily=True) == last
    assert stored(log, views, "alerts") == last
    assert len(lines(views, "alerts")) == 1


def test_another_process_that_went_on_is_noticed(
    log: Log, views: str, together: Together, follower_of: Callable[..., Follower], lines: Read
) -> None:
    """Here and there rows are written once, wherever either of them believes to stand."""
    log.append([("i1", events) for events in late()[:4]])
    ours, other = together("instances", "alerts", batch=3), follower_of("alerts")
    while ours["instances"].advance(lazily=True) < log.end():
        ours["alerts"].advance(lazily=True)
    other.advance()
    end = log.append(
        [("i1", command(30, AlertAcknowledged(alert_id="charge#1/late"), actor="eve", reason="r"))]
    )
    while other.advance() < end:
        pass
    before = lines(views, "alerts")
    while ours["alerts"].advance(lazily=True) < end:
        pass
    assert lines(views, "alerts") == before
    assert len(before) == 1
    assert ours["alerts"].place().position == end


def test_an_event_that_one_cannot_read_stops_only_those_that_want_it(log: Log, together: Together) -> None:
    known = log.append([("i1", happy()[0])])
    log.append_raw([("i1", 99, "AlertRaised", b'{"at":"2026-11-23T12:00:00Z","severity":7}')])
    end = log.append([("i2", happy()[0])])
    followers = together("transitions", "alerts", "words")
    with pytest.raises(UnreadableEventError, match="AlertRaised"):
        followers["alerts"].advance(lazily=True)
    assert followers["alerts"].place().position == known
    for name in ("transitions", "words"):
        assert followers[name].advance(lazily=True) == end
