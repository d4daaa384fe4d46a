"""What people ask of one instance: why it does not move, what would be undone, what changed, whether it replays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import sql

from api.routes import examples
from domain.comparing import changes
from domain.state import STATE_VERSION
from domain.why import CODES
from engine.ports import Snapshot
from tests.api.conftest import APPROVAL, BOOKING, HELLO, Server
from tests.test_docs import ROOT


async def test_a_priority_that_was_read_from_the_log_decides_the_same_events(server: Server) -> None:
    await server.deploy(BOOKING, "booking")
    id = (await server.start("booking", priority="normal"))["id"]
    await server.work("travel", {"id": "b-1"})
    assert (await server.post("/v1/verify", {"decide": True}))["failed"] == []
    events = (await server.get(f"/v1/instances/{id}/events"))["events"]
    assert ["priority" in event["payload"] for event in events if event["type"] == "StepScheduled"] == [
        False
    ] * 2


async def booked(server: Server) -> str:
    """An instance of two steps, of which the first is done."""
    await server.deploy(BOOKING, "booking")
    started = await server.start("booking")
    await server.work("travel", {"id": "b-1"})
    id: str = started["id"]
    return id


def spoil(database: str, schema: str, statement: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            sql.SQL(statement).format(log=sql.Identifier(schema), views=sql.Identifier(f"{schema}_views"))
        )


# --- why


async def test_why_names_the_cause_since_when_and_what_would_move_it(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    started = await server.start("approval", correlationId="order-17")
    answer = await server.get(f"/v1/instances/{started['id']}/why")
    assert answer.keys() == examples.WHY.keys()
    assert answer["summary"] == answer["causes"][0]["message"]
    (cause,) = answer["causes"]
    assert (cause["code"], cause["since"]) == ("signal", started["startedAt"])
    assert [move.get("command") for move in cause["moves"]] == [
        f"tenuto signal {started['id']} answer --payload '{{}}'",
        None,
    ]
    await server.get("/v1/instances/0-none/why", 404)
    other = await server.http.get(
        f"/v1/instances/{started['id']}/why", headers={"Tenuto-Namespace": "theirs"}
    )
    assert other.status_code == 404


async def test_why_tells_of_an_instance_that_cannot_even_be_read(
    server: Server, database: str, schema: str
) -> None:
    await server.deploy(HELLO, "hello")
    started = await server.start("hello", {"name": "Ada"})
    spoil(database, schema, "UPDATE {log}.stored_events SET state = '{{}}' WHERE topic = 'StepScheduled'")
    answer = await server.get(f"/v1/instances/{started['id']}/why")
    assert [cause["code"] for cause in answer["causes"]] == ["unreadable"]
    assert "StepScheduled" in answer["summary"]
    other = await server.http.get(
        f"/v1/instances/{started['id']}/why", headers={"Tenuto-Namespace": "theirs"}
    )
    assert other.status_code == 404


def test_every_code_is_on_the_page_in_its_order() -> None:
    page = (ROOT / "docs/reference/why.md").read_text()
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert tuple(rows) == CODES


# --- undo plan


async def test_the_undo_plan_says_what_its_undos_would_be_asked(server: Server) -> None:
    id = await booked(server)
    plan = await server.get(f"/v1/instances/{id}/undo-plan", reason="she called")
    assert plan.keys() == examples.UNDO_PLAN.keys()
    (step,) = plan["steps"]
    assert step.keys() == examples.UNDO_PLAN["steps"][0].keys()
    assert (step["execution"], step["undoStep"], step["output"]) == ("book#1", "unbook", {"id": "b-1"})
    await server.post(f"/v1/instances/{id}/cancel", {"reason": "she called"})
    task = await server.work("travel", {})
    assert (task["execution"], task["input"]) == ("book#1/undo", step["undoInput"])
    assert (await server.get(f"/v1/instances/{id}/undo-plan"))["steps"] == []


# --- diff and state


async def test_a_diff_names_what_changed_and_the_events_that_did_it(server: Server) -> None:
    id = await booked(server)
    events = (await server.get(f"/v1/instances/{id}/events"))["events"]
    done = next(one for one in events if one["type"] == "StepCompleted")
    answer = await server.get(
        f"/v1/instances/{id}/diff", **{"from": done["version"] - 1, "to": done["version"]}
    )
    assert answer.keys() == examples.DIFF.keys()
    assert {"op": "add", "path": "$.data.book", "after": {"id": "b-1"}} in answer["changes"]
    assert answer["events"] == [{"version": done["version"], "type": "StepCompleted", "at": done["at"]}]
    back = await server.get(
        f"/v1/instances/{id}/diff", **{"from": done["version"], "to": done["version"] - 1}
    )
    assert {"op": "remove", "path": "$.data.book", "before": {"id": "b-1"}} in back["changes"]
    whole = await server.get(f"/v1/instances/{id}/diff", **{"from": 1})
    assert (whole["from"]["version"], whole["to"]["version"]) == (1, events[-1]["version"])
    assert {"op": "replace", "path": "$.status", "before": "pending", "after": "running"} in whole["changes"]
    by_time = await server.get(f"/v1/instances/{id}/diff", **{"from": events[0]["at"], "to": done["at"]})
    assert by_time["to"]["version"] >= done["version"]


@pytest.mark.parametrize("name", ["from", "to"])
async def test_a_version_or_a_time_out_of_range_says_what_there_is(server: Server, name: str) -> None:
    id = await booked(server)
    now = server.wiring.clock.now()
    view = await server.get(f"/v1/instances/{id}")
    fine = {"from": "1", "to": "2"}
    path = f"/v1/instances/{id}/diff"
    for value in ("0", str(view["version"] + 1), "9" * 18):
        problem = await server.get(path, 422, **{**fine, name: value})
        assert problem["type"] == "urn:tenuto:problem:out-of-range"
        assert (problem["first"], problem["last"]) == (1, view["version"])
    for moment in (now - timedelta(days=1), now + timedelta(days=1)):
        problem = await server.get(path, 422, **{**fine, name: moment.isoformat()})
        assert problem["type"] == "urn:tenuto:problem:out-of-range"
        assert problem["first"] == view["createdAt"]
    for value in ("", "yesterday", "-1", "1.5", now.replace(tzinfo=None).isoformat()):
        problem = await server.get(path, 422, **{**fine, name: value})
        assert problem["type"] == "urn:tenuto:problem:invalid-parameter"


async def test_a_state_out_of_range_says_what_there_is(server: Server) -> None:
    id = await booked(server)
    now = server.wiring.clock.now()
    path = f"/v1/instances/{id}/state"
    for query in (
        {"version": 99},
        {"at": (now - timedelta(days=1)).isoformat()},
        {"at": "2999-01-01T00:00:00Z"},
    ):
        problem = await server.get(path, 422, **query)
        assert problem["type"] == "urn:tenuto:problem:out-of-range"
        assert {"first", "last"} <= problem.keys()
    await server.get("/v1/instances/0-none/state", 404, version=1)


def test_changes_are_told_as_json_patch_tells_them() -> None:
    before = {"a": 1, "b": [1, 2], "c": {"d": None}, "odd key": True, "same": 0}
    after = {"a": 1.0, "b": [1, 3, 4], "c": {}, "odd key": False, "same": 0, "new": []}
    found, more = changes(before, after)
    assert not more
    assert found == [
        {"op": "replace", "path": "$.a", "before": 1, "after": 1.0},
        {"op": "replace", "path": "$.b[1]", "before": 2, "after": 3},
        {"op": "add", "path": "$.b[2]", "after": 4},
        {"op": "remove", "path": "$.c.d", "before": None},
        {"op": "replace", "path": "$['odd key']", "before": True, "after": False},
        {"op": "add", "path": "$.new", "after": []},
    ]
    many, more = changes({}, {str(number): number for number in range(2_000)})
    assert (len(many), more) == (1_000, True)


# --- replay and verify


async def replayed(server: Server, id: str, **query: str) -> Any:
    answer = await server.http.post(f"/v1/instances/{id}/replay", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def caught_up(server: Server) -> None:
    positions = [one.position for one in await server.wiring.store.read(await _newest(server))]
    assert await server.wiring.runner.wait_for(positions[-1], 10)


async def _newest(server: Server) -> str:
    return (await server.wiring.store.streams("0-"))[-1]


async def test_a_replay_compares_everything_that_is_derived(server: Server) -> None:
    id = await booked(server)
    await caught_up(server)
    answer = await replayed(server, id, decide="true")
    assert answer.keys() == examples.REPLAY.keys()
    assert answer["equal"], answer
    rows = {one["projection"]: one["rows"] for one in answer["projections"]}
    assert rows["instances"] == 1
    assert rows["step_executions"] == 2
    missing = await server.http.post("/v1/instances/0-none/replay")
    assert missing.status_code == 404


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("UPDATE {log}.owed SET queue = 'elsewhere'", "owed"),
        ("DELETE FROM {log}.owed", "owed"),
        ("UPDATE {views}.instances SET status = 'failed'", "instances"),
        ("DELETE FROM {views}.step_executions WHERE step_id = 'pay'", "step_executions"),
        ("DELETE FROM {log}.stored_events WHERE topic = 'StepStarted'", "log"),
    ],
)
async def test_a_replay_finds_what_was_changed_by_hand(
    server: Server, database: str, schema: str, statement: str, where: str
) -> None:
    id = await booked(server)
    await caught_up(server)
    spoil(database, schema, statement)
    answer = await replayed(server, id)
    assert not answer["equal"]
    found = {one["check"] for one in answer["problems"]}
    found |= {one["projection"] for one in answer["projections"] if one["sample"]}
    assert where in found


async def test_a_replay_finds_a_snapshot_that_is_not_what_the_log_folds_to(server: Server) -> None:
    id = await booked(server)
    state = await server.wiring.engine.state_of(id)
    right = msgspec.json.encode(state)
    await server.wiring.store.save_snapshots([Snapshot(id, state.version, STATE_VERSION, right)])
    assert (await replayed(server, id))["problems"] == []
    await server.work("travel", {})
    later = await server.wiring.engine.state_of(id)
    later.data["book"] = {"id": "b-2"}
    wrong = Snapshot(id, later.version, STATE_VERSION, msgspec.json.encode(later))
    await server.wiring.store.save_snapshots([wrong])
    (problem,) = (await replayed(server, id))["problems"]
    assert (problem["check"], problem["version"]) == ("snapshot", later.version)
    assert problem["differences"] == [{"path": "$.data.book.id", "live": "b-2", "replayed": "b-1"}]
    ahead = Snapshot(id, later.version + 3, STATE_VERSION, right)
    await server.wiring.store.save_snapshots([ahead])
    (problem,) = (await replayed(server, id))["problems"]
    assert "the log ends at" in problem["message"]


async def test_a_replay_finds_what_the_engine_has_wrong_in_its_memory(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = await booked(server)
    live = server.wiring.engine.cached(id)
    assert live is not None
    live.data["book"] = "elsewhere"
    monkeypatch.setattr(server.wiring.engine, "cached", lambda _: live)
    answer = await replayed(server, id)
    assert (answer["equal"], [one["path"] for one in answer["differences"]]) == (False, ["$.data.book"])


async def test_verify_goes_through_all_instances_page_by_page(
    server: Server, database: str, schema: str
) -> None:
    await server.deploy(HELLO, "hello")
    ids = [(await server.start("hello", {"name": "Ada"}))["id"] for _ in range(3)]
    pages: list[Any] = []
    cursor = None
    while not pages or cursor is not None:
        body = {"limit": 2, "decide": True} | ({} if cursor is None else {"cursor": cursor})
        pages.append(await server.post("/v1/verify", body))
        cursor = pages[-1]["next"]
    assert [page["checked"] for page in pages] == [2, 1]
    assert pages[0].keys() == examples.VERIFIED.keys()
    assert sum(page["events"] for page in pages) == await server.events() - 1, "all but the deploy"
    assert all(page["failed"] == [] for page in pages)
    spoil(
        database,
        schema,
        "UPDATE {log}.owed SET attempt = 7 WHERE kind = 'invoke'"
        " AND instance = (SELECT instance FROM {log}.owed ORDER BY instance OFFSET 1 LIMIT 1)",
    )
    (failed,) = (await server.post("/v1/verify", {}))["failed"]
    assert failed["instance"] == ids[1]
    assert failed["problems"][0]["check"] == "owed"
    assert failed["problems"][0]["differences"]


async def test_verify_with_decide_finds_what_the_definition_would_not_have_done(
    server: Server, database: str, schema: str
) -> None:
    await server.deploy(HELLO, "hello")
    await server.start("hello", {"name": "Ada"})
    spoil(
        database,
        schema,
        "UPDATE {log}.stored_events SET state ="
        " convert_to(replace(convert_from(state, 'UTF8'), 'Ada', 'Bob'), 'UTF8') WHERE topic = 'StepScheduled'",
    )
    assert (await server.post("/v1/verify", {}))["failed"] == []
    (failed,) = (await server.post("/v1/verify", {"decide": True}))["failed"]
    (problem,) = failed["problems"]
    assert problem["check"] == "decide"
    assert problem["differences"] == [{"path": "$.input.name", "live": "Bob", "replayed": "Ada"}]
