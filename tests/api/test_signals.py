"""Signals: to an instance, and to whatever listens under a correlation key."""

from __future__ import annotations

import asyncio

import pytest

from tests.api.conftest import APPROVAL, Server

YES = {"signalId": "s-1", "payload": "yes"}


async def test_a_signal_ends_the_wait_for_it(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    path = f"/v1/instances/{(await server.start('approval'))['id']}"
    answer = await server.post(f"{path}/signals/answer", YES)
    assert answer == {"signalId": "s-1", "status": "accepted", "instances": [path.rpartition("/")[2]]}
    assert (await server.get(path))["result"] == {"answer": "yes"}


async def test_the_same_signal_counts_once(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    path = f"/v1/instances/{(await server.start('approval'))['id']}"
    await server.post(f"{path}/signals/answer", YES)
    assert (await server.post(f"{path}/signals/answer", YES))["status"] == "duplicate"
    problem = await server.post(f"{path}/signals/answer", YES | {"payload": "no"}, 409)
    assert problem["type"] == "urn:tenuto:problem:signal-conflict"


async def test_what_nobody_declares_is_404_and_stores_nothing(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    path = f"/v1/instances/{(await server.start('approval'))['id']}"
    before = await server.events()
    assert (await server.post(f"{path}/signals/nonsense", YES, 404))["name"] == "nonsense"
    await server.post("/v1/instances/0-0000/signals/answer", YES, 404)
    assert await server.events() == before


async def test_a_signal_by_key_finds_who_listens(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    body = YES | {"correlationId": "c-1"}
    problem = await server.post("/v1/signals/answer", body, 404)
    assert problem["type"] == "urn:tenuto:problem:no-listener"

    one = await server.start("approval", correlationId="c-1")
    assert (await server.post("/v1/signals/answer", body))["instances"] == [one["id"]]

    both = {(await server.start("approval", correlationId="c-2"))["id"] for _ in range(2)}
    body = YES | {"correlationId": "c-2"}
    assert (await server.post("/v1/signals/answer", body, 409))["count"] == 2
    assert set((await server.post("/v1/signals/answer?all=true", body))["instances"]) == both


async def test_a_signal_needs_an_id(server: Server) -> None:
    problem = await server.post("/v1/signals/answer", {"correlationId": "c-1"}, 422)
    assert problem["errors"] == [
        {"field": "$.signalId", "problem": "Object missing required field `signalId`"}
    ]


async def test_with_a_ttl_a_signal_is_kept_for_the_first_that_listens(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    body = YES | {"correlationId": "c-1"}
    path = "/v1/signals/answer?ttl=1h"
    assert await server.post(path, body) == {"signalId": "s-1", "status": "kept", "instances": []}
    assert (await server.post(path, body))["status"] == "kept"
    problem = await server.post(path, body | {"payload": "no"}, 409)
    assert problem["type"] == "urn:tenuto:problem:signal-conflict"

    one = await server.start("approval", correlationId="c-1")
    ended = await server.get(f"/v1/instances/{one['id']}", wait="10s")
    assert ended["result"] == {"answer": "yes"}
    async with asyncio.timeout(10):  # That it was delivered is on record a commit later.
        while (again := await server.post(path, body))["status"] == "kept":
            pass
    assert again == {"signalId": "s-1", "status": "duplicate", "instances": [one["id"]]}


async def test_a_namespace_keeps_its_own_signals(server: Server) -> None:
    await server.deploy(APPROVAL, "approval")
    body = YES | {"correlationId": "c-1"}
    await server.post("/v1/signals/answer?ttl=1h", body, Tenuto_Namespace="other")
    assert (await server.post("/v1/signals/answer", body, 404))["type"] == "urn:tenuto:problem:no-listener"
    one = await server.start("approval", correlationId="c-1")
    assert (await server.post("/v1/signals/answer", body))["instances"] == [one["id"]]


@pytest.mark.parametrize("ttl", ["0s", "soon", "3650d"])
async def test_a_ttl_is_a_time_within_reason(server: Server, ttl: str) -> None:
    before = await server.events()
    await server.post(f"/v1/signals/answer?ttl={ttl}", YES | {"correlationId": "c-1"}, 422)
    assert await server.events() == before
