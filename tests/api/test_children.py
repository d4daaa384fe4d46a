"""Child workflows over HTTP and PostgreSQL: started, waited for, called back, and found from both sides."""

from __future__ import annotations

from typing import Any

from tests.api.conftest import Server

INVOICE = """\
name: invoice
version: "1"
steps:
  - {id: write, type: task, action: worker:papers/write, timeout: 30s, compensateWith: tear, next: done}
  - {id: done, type: succeed, result: {number: $.write.number}}
  - {id: tear, type: task, action: worker:papers/tear, timeout: 30s}
"""
SALE = """\
name: sale
version: "1"
steps:
  - {id: pay, type: task, action: worker:shop/pay, timeout: 30s, compensateWith: refund, next: bill}
  - {id: bill, type: workflow, definition: invoice, input: {of: $.pay.id}, timeout: 1h, next: ship}
  - {id: ship, type: task, action: worker:shop/ship, readOnly: true, timeout: 30s, next: done}
  - {id: done, type: succeed, result: {invoice: $.bill.number}}
  - {id: refund, type: task, action: worker:shop/refund, timeout: 30s}
"""
WHY = {"reason": "the customer called", "actor": "ada"}


async def sold(server: Server) -> str:
    """The path of an instance that has been paid for, and whose child may begin."""
    await server.deploy(INVOICE, "invoice")
    await server.deploy(SALE, "sale")
    started = await server.start("sale")
    await server.work("shop", {"id": 7})
    return f"/v1/instances/{started['id']}"


async def child_of(server: Server, path: str) -> str:
    """The path of its child, as its history names it."""
    history = (await server.get(path, include="history"))["history"]
    (bill,) = [entry for entry in history if entry["stepId"] == "bill" and entry["kind"] == "workflow"]
    return f"/v1/instances/{bill['childId']}"


async def ended(server: Server, path: str) -> dict[str, Any]:
    view: dict[str, Any] = await server.get(path, wait="10s")
    assert view["completedAt"], view
    return view


async def test_a_parent_goes_on_when_its_child_has_ended_and_each_names_the_other(server: Server) -> None:
    path = await sold(server)
    task = await server.work("papers", {"number": "R-1"})
    child = await child_of(server, path)
    assert task["instanceId"] == child.rpartition("/")[2]
    assert task["step"] == "write"
    await server.work("shop")
    assert (await ended(server, path))["result"] == {"invoice": "R-1"}
    found = await server.get(child)
    assert (found["outcome"], found["data"]["input"]) == ("succeeded", {"of": 7})
    assert found["parent"] == {"instanceId": path.rpartition("/")[2], "execution": "bill#1"}


async def test_the_children_of_an_instance_are_listed(server: Server) -> None:
    path = await sold(server)
    await server.poll("papers")
    child = await child_of(server, path)
    position = (await server.http.post("/v1/instances", json={"definition": "invoice"})).headers[
        "Tenuto-Position"
    ]
    listed = await server.get("/v1/instances", parent=path.rpartition("/")[2], minPosition=position)
    assert [one["id"] for one in listed["instances"]] == [child.rpartition("/")[2]]


async def test_a_cancel_reaches_the_child_that_runs(server: Server) -> None:
    path = await sold(server)
    (task,) = await server.poll("papers")
    child = await child_of(server, path)
    assert (await server.get(path))["waitingFor"] == ["child"]
    await server.post(f"{path}/cancel", WHY)
    assert (await ended(server, child))["outcome"] == "cancelled"
    await server.work("shop", {})
    assert (await ended(server, path))["outcome"] == "cancelled"
    late = {"token": task["token"], "output": {"number": "R-2"}}
    told = await server.post("/v1/tasks/complete", {"results": [late]})
    assert [one["status"] for one in told["results"]] == ["ignored"]
    assert (await server.work("papers", {}))["step"] == "tear", "what was done too late is undone"


async def test_a_rollback_undoes_what_an_ended_child_did_before_what_came_before_it(server: Server) -> None:
    path = await sold(server)
    await server.work("papers", {"number": "R-1"})
    child = await child_of(server, path)
    assert (await server.poll("shop"))[0]["step"] == "ship"
    await server.post(f"{path}/compensate", WHY)
    assert await server.poll("shop", session="s2", wait="0s") == [], "the child's undo comes first"
    assert (await server.work("papers", {}))["step"] == "tear"
    assert (await server.work("shop", {}))["step"] == "refund"
    assert (await ended(server, path))["outcome"] == "compensated"
    found = await server.get(child)
    assert (found["outcome"], found["completedCompensableSteps"]) == ("succeeded", [])
