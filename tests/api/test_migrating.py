"""Other versions, forks and batches over HTTP: what is answered, what is refused and why, and what a dry run leaves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import APPROVAL, BOOKING, Server

WHY = {"reason": "a new airline", "actor": "ada"}
SECOND = (
    BOOKING.replace('version: "1"', 'version: "2"')
    .replace("id: pay,", "id: charge,")
    .replace("next: pay}", "next: charge}")
    .replace("$.pay", "$.charge")
)
MAPPING = {"steps": {"pay": "charge"}}


async def booked(server: Server, *, second: str = SECOND) -> str:
    """The path of an instance of version 1 that has booked, while version 2 is deployed."""
    await server.deploy(BOOKING, "booking")
    started = await server.start("booking")
    await server.work("travel", {"id": 7})
    await server.deploy(second, "booking")
    return f"/v1/instances/{started['id']}"


async def asked(server: Server, count: int) -> list[str]:
    """Ids of instances that wait for an answer, oldest first; the lists know them."""
    await server.deploy(APPROVAL, "approval")
    ids = [(await server.start("approval"))["id"] for _ in range(count)]
    await listed(server)
    return ids


async def listed(server: Server) -> None:
    """Until the lists show all that the log holds."""
    assert await server.wiring.runner.wait_for(await last_position(server), 5, "instances")


async def last_position(server: Server) -> int:
    answer = await server.http.post(
        "/v1/instances", json={"definition": "approval", "input": {}, "labels": {"x": "y"}}
    )
    return int(answer.headers["Tenuto-Position"])


# One instance ---------------------------------------------------------------------------


async def test_a_migration_is_answered_with_the_instance_and_is_on_record(server: Server) -> None:
    path = await booked(server)
    view = await server.post(f"{path}/migrate", WHY | {"toVersion": "2", "mapping": MAPPING})
    assert (view["definitionVersion"], view["currentStep"]) == ("2", "charge")
    await server.work("travel", "paid")
    assert (await server.get(path))["result"] == {"paid": "paid"}
    events = (await server.get(f"{path}/events"))["events"]
    (act,) = [event["payload"] for event in events if event["type"] == "Migrated"]
    assert (act["actor"], act["reason"], act["fromVersion"], act["toVersion"]) == (
        "ada",
        WHY["reason"],
        "1",
        "2",
    )
    assert (await server.post(f"{path}/replay", {}))["equal"]


async def test_the_newest_version_is_meant_when_none_is_named(server: Server) -> None:
    path = await booked(server)
    assert (await server.post(f"{path}/migrate", WHY | {"mapping": MAPPING}))["definitionVersion"] == "2"
    before = await server.events()
    await server.post(f"{path}/migrate", WHY | {"mapping": MAPPING})
    assert await server.events() == before, "repeated, it changes nothing"


async def test_what_stands_in_the_way_is_named_with_a_code(server: Server) -> None:
    path = await booked(server)
    before = await server.events()
    problem = await server.post(f"{path}/migrate", WHY, 409)
    assert problem["type"] == "urn:tenuto:problem:migration-refused"
    assert (problem["fromVersion"], problem["toVersion"]) == ("1", "2")
    (obstacle,) = problem["obstacles"]
    assert (obstacle["code"], obstacle["execution"], obstacle["step"]) == ("step-vanished", "pay#1", "pay")
    assert obstacle["message"] in problem["detail"]
    assert await server.events() == before


async def test_a_dry_run_says_whether_and_where_and_stores_nothing(server: Server) -> None:
    path = await booked(server)
    before = await server.events()
    can = await server.post(f"{path}/migrate?dryRun=true", WHY | {"mapping": MAPPING})
    assert (can["canMigrate"], can["positions"], can["obstacles"]) == (True, {"pay#1": "charge"}, [])
    cannot = await server.post(f"{path}/migrate?dryRun=true", WHY)
    assert not cannot["canMigrate"]
    assert [one["code"] for one in cannot["obstacles"]] == ["step-vanished"]
    assert await server.events() == before


async def test_a_migration_that_makes_no_sense_is_refused_by_name(server: Server) -> None:
    path = await booked(server)
    await server.post(f"{path}/migrate", {"mapping": MAPPING}, 422)
    await server.post(f"{path}/migrate", WHY | {"toVersion": "9"}, 404)
    await server.post(f"{path}/migrate", WHY | {"mapping": {"steps": {"pay": 7}}}, 422)
    await server.post(f"{path}/migrate", WHY | {"mapping": MAPPING}, 412, If_Match='"1"')
    await server.post("/v1/instances/0-0000/migrate", WHY, 404)


# Many instances ---------------------------------------------------------------------------


async def test_all_of_a_version_move_that_can_and_it_is_said_who_cannot_and_why(server: Server) -> None:
    path = await booked(server)
    await server.deploy(APPROVAL, "approval")
    fresh = (await server.start("booking", version="1"))["id"]
    ended = (await server.start("booking", version="1"))["id"]
    await server.post(f"/v1/instances/{ended}/cancel", WHY)
    await listed(server)
    body = WHY | {"fromVersion": "1", "toVersion": "2"}
    before = await server.events()
    dry = await server.post("/v1/definitions/booking/migrate?dryRun=true", body)
    assert await server.events() == before
    assert (dry["dryRun"], dry["counts"], dry["next"]) == (True, {"possible": 1, "refused": 1}, None)
    done = await server.post("/v1/definitions/booking/migrate", body)
    by_id = {one["instanceId"]: one for one in done["results"]}
    assert set(by_id) == {fresh, path.rpartition("/")[2]}
    assert by_id[fresh]["result"] == "done"
    refused = by_id[path.rpartition("/")[2]]
    assert (refused["result"], refused["problem"]["obstacles"][0]["code"]) == ("refused", "step-vanished")
    assert (await server.get(f"/v1/instances/{fresh}"))["definitionVersion"] == "2"
    mapped = await server.post(
        "/v1/definitions/booking/migrate", body | {"mapping": MAPPING, "filter": {"status": ["running"]}}
    )
    assert mapped["counts"]["done"] == 1
    assert (await server.get(path))["definitionVersion"] == "2"


async def test_the_list_shows_the_version_that_it_has_moved_to(server: Server) -> None:
    path = await booked(server)
    await server.post(f"{path}/migrate", WHY | {"mapping": MAPPING})
    await server.deploy(APPROVAL, "approval")
    await listed(server)
    (row,) = (await server.get("/v1/instances", version="2"))["instances"]
    assert (row["id"], row["currentStep"]) == (path.rpartition("/")[2], "charge")


async def test_a_batch_does_the_same_to_each_page_by_page(server: Server) -> None:
    ids = await asked(server, 5)
    body: dict[str, Any] = WHY | {
        "act": "pause",
        "filter": {"definition": "approval", "status": ["waiting"]},
        "limit": 4,
    }
    first = await server.post("/v1/instances/batch", body)
    assert first["counts"] == {"done": 4}
    second = await server.post("/v1/instances/batch", body | {"cursor": first["next"]})
    assert (second["counts"], second["next"]) == ({"done": 2}, None)
    assert {one["instanceId"] for page in (first, second) for one in page["results"]} > set(ids)
    again = await server.post("/v1/instances/batch", body)
    assert again["counts"] == {"unchanged": 4}
    for id in ids:
        assert (await server.get(f"/v1/instances/{id}"))["paused"]


async def test_a_batch_says_of_each_why_it_was_refused(server: Server) -> None:
    ids = await asked(server, 2)
    await server.post(f"/v1/instances/{ids[0]}/terminate", WHY)
    body = WHY | {"act": "resume", "filter": {"definition": "approval"}}
    answer = await server.post("/v1/instances/batch", body)
    refused = [one for one in answer["results"] if one["result"] == "refused"]
    assert [one["instanceId"] for one in refused] == ids[:1]
    assert refused[0]["problem"]["type"] == "urn:tenuto:problem:instance-ended"
    assert refused[0]["problem"]["status"] == 409


async def test_a_dry_batch_stores_nothing(server: Server) -> None:
    await asked(server, 2)
    before = await server.events()
    body = WHY | {"act": "cancel", "filter": {"definition": "approval"}}
    assert (await server.post("/v1/instances/batch?dryRun=true", body))["counts"] == {"possible": 3}
    assert await server.events() == before
    assert (await server.post("/v1/instances/batch", body))["counts"] == {"done": 3}


@pytest.mark.parametrize(
    ("act", "status"),
    [("retry", "running"), ("skip", "compensating"), ("fail", "compensating"), ("give-up", None)],
)
async def test_a_batch_acts_on_the_step_that_waits_for_a_person(
    server: Server, act: str, status: str | None
) -> None:
    await server.deploy(BOOKING, "booking")
    started = await server.start("booking")
    await server.work("travel", {"id": 7})
    await server.work("travel", type="CardError", message="declined", retryable=True)
    await server.deploy(APPROVAL, "approval")
    await listed(server)
    body = WHY | {"act": act, "filter": {"waitingFor": ["manual_resolution"]}}
    (one,) = (await server.post("/v1/instances/batch", body))["results"]
    assert one["instanceId"] == started["id"]
    if status is None:
        assert one["problem"]["type"] == "urn:tenuto:problem:unknown-execution"
    else:
        assert one["status"] == status


async def test_a_batch_can_migrate_by_any_filter(server: Server) -> None:
    path = await booked(server)
    await server.deploy(APPROVAL, "approval")
    await listed(server)
    body = WHY | {"act": "migrate", "toVersion": "2", "mapping": MAPPING}
    await server.post("/v1/instances/batch", body | {"filter": {"status": ["running"]}}, 422)
    answer = await server.post("/v1/instances/batch", body | {"filter": {"definition": "booking"}})
    assert answer["counts"] == {"done": 1}
    assert (await server.get(path))["definitionVersion"] == "2"


async def test_a_batch_without_a_filter_or_a_reason_is_refused(server: Server) -> None:
    await asked(server, 1)
    before = await server.events()
    for body in (
        WHY | {"act": "cancel", "filter": {}},
        WHY | {"act": "cancel"},
        {"act": "cancel", "filter": {"definition": "approval"}},
        WHY | {"act": "delete", "filter": {"definition": "approval"}},
        WHY | {"act": "cancel", "filter": {"definitoin": "approval"}},
        WHY | {"act": "cancel", "filter": {"definition": "approval"}, "limit": 1001},
        WHY | {"act": "cancel", "filter": {"definition": "approval"}, "cursor": "nonsense"},
        WHY | {"act": "cancel", "filter": {"olderThan": "1h"}, "cursor": "nonsense/x"},
    ):
        await server.post("/v1/instances/batch", body, 422)
    assert await server.events() == before


async def test_older_than_means_the_same_moment_on_every_page(server: Server) -> None:
    await asked(server, 3)
    body: dict[str, Any] = WHY | {"act": "pause", "filter": {"olderThan": "0ms"}, "limit": 2}
    first = await server.post("/v1/instances/batch", body)
    second = await server.post("/v1/instances/batch", body | {"cursor": first["next"]})
    assert (first["counts"], second["counts"], second["next"]) == ({"done": 2}, {"done": 2}, None)


# Forks ---------------------------------------------------------------------------------------


async def failed(server: Server) -> str:
    """The path of an instance that has ended: it has booked, and could not pay."""
    await server.deploy(
        BOOKING.replace("steps:", "onFailure: fail\nsteps:").replace("onMaxRetriesExceeded: pause, ", ""),
        "booking",
    )
    started = await server.start("booking", correlationId="trip-1")
    await server.work("travel", {"id": 7})
    await server.work("travel", type="CardError", message="declined", retryable=False)
    path = f"/v1/instances/{started['id']}"
    assert (await server.get(path))["status"] == "failed"
    return path


@pytest.mark.parametrize("act", ["fork", "retry"])
async def test_an_ended_instance_is_tried_again_as_a_new_one(server: Server, act: str) -> None:
    path = await failed(server)
    before = (await server.get(f"{path}/events"))["events"]
    answer = await server.http.post(f"{path}/{act}", json=WHY)
    assert answer.status_code == 201, answer.text
    view = answer.json()
    old, new = path.rpartition("/")[2], view["id"]
    assert (view["forkedFrom"]["instanceId"], view["status"], view["correlationId"]) == (
        old,
        "running",
        "trip-1",
    )
    assert answer.headers["Location"] == f"/v1/instances/{new}"
    task = await server.work("travel", "paid")
    assert (task["instanceId"], task["idempotencyKey"]) == (new, f"{old}/pay#1")
    assert (await server.get(f"/v1/instances/{new}"))["result"] == {"paid": "paid"}
    assert (await server.get(f"{path}/events"))["events"] == before, "the old history stays whole"
    assert (await server.post(f"/v1/instances/{new}/replay", {}))["equal"]


async def test_a_fork_can_begin_earlier_and_with_other_data(server: Server) -> None:
    path = await failed(server)
    view = await server.post(
        f"{path}/fork", WHY | {"fromExecution": "book#1", "data": {"class": "first"}}, 201
    )
    assert view["data"]["class"] == "first"
    assert view["currentStep"] == "book"
    rounded = await server.post(f"{path}/fork", WHY | {"fromVersion": 4}, 201)
    assert rounded["forkedFrom"]["version"] <= 4


async def test_with_a_key_a_fork_happens_once(server: Server) -> None:
    path = await failed(server)
    first = await server.post(f"{path}/fork", WHY, 201, Idempotency_Key="f1")
    again = await server.post(f"{path}/fork", WHY, 200, Idempotency_Key="f1")
    assert again["id"] == first["id"]
    await server.post(f"{path}/fork", WHY | {"fromVersion": 4}, 422, Idempotency_Key="f1")


async def test_where_nothing_can_go_on_it_is_said_why(server: Server) -> None:
    path = await failed(server)
    problem = await server.post(f"{path}/fork", WHY | {"fromVersion": 10_000}, 409)
    assert problem["type"] == "urn:tenuto:problem:fork-refused"
    assert "it had ended as failed by then" in problem["detail"]
    await server.post(f"{path}/fork", WHY | {"fromVersion": 3, "fromExecution": "pay#1"}, 422)
    await server.post(f"{path}/fork", WHY | {"fromExecution": "pay#9"}, 409)
    await server.post(f"{path}/fork", WHY | {"fromVersion": 0}, 422)
    await server.post(f"{path}/fork", {}, 422)
    await server.post("/v1/instances/0-0000/fork", WHY, 404)


async def test_the_list_shows_a_fork_as_new_and_on_its_own(server: Server) -> None:
    path = await failed(server)
    new = await server.post(f"{path}/retry", WHY, 201)
    await server.deploy(APPROVAL, "approval")
    await listed(server)
    rows = (await server.get("/v1/instances", definition="booking"))["instances"]
    assert [row["id"] for row in rows] == [new["id"], path.rpartition("/")[2]]
    assert rows[0]["createdAt"] == new["createdAt"]


# What else knows of it ----------------------------------------------------------------------


async def test_what_was_moved_and_forked_is_on_record_and_verifies(server: Server) -> None:
    path = await booked(server)
    old = path.rpartition("/")[2]
    await server.post(f"{path}/migrate", WHY | {"toVersion": "2", "mapping": MAPPING})
    new = (await server.post(f"{path}/fork", WHY | {"fromVersion": 10_000}, 201))["id"]
    for _ in range(2):
        await server.work("travel", type="CardError", message="declined", retryable=True)
    await server.post(f"{path}/fail", WHY)
    await server.deploy(APPROVAL, "approval")
    await listed(server)
    assert (await server.post("/v1/verify", {"decide": True}))["failed"] == []
    for id in (old, new):
        assert (await server.post(f"/v1/instances/{id}/replay", {}))["equal"], id
    acts = [
        (one["instanceId"], one["event"], one["actor"], one["reason"])
        for one in (await server.get("/v1/audit/log", definition="booking"))["entries"]
        if one["event"] in ("Migrated", "Forked", "StepGivenUp")
    ]
    who = ("ada", WHY["reason"])
    assert sorted(acts) == sorted(
        [(old, "Migrated", *who), (new, "Forked", *who), (old, "StepGivenUp", *who)]
    ), "what the fork has copied is on record once"
    history = (await server.get(f"{path}/history"))["executions"]
    assert {one["execution"]: one["status"] for one in history}["pay#1"] == "failed"
    answer = await server.post("/v1/definitions/booking/what-if", {"text": SECOND})
    assert (answer["judged"], answer["unreadable"]) == (2, 0)
