"""`tenuto webhooks` and the client's webhooks against a real server, with a real receiver."""

from __future__ import annotations

import json

import standardwebhooks
from aiohttp import web

from feeds import delivery
from tenuto.client import AsyncClient
from tests.api.conftest import APPROVAL, Server
from tests.api.test_audit_cli import run, url
from tests.api.test_webhooks import STATE_CHANGED, Receiver, quick, receiver, taken, told_of, until

__all__ = ["quick", "receiver", "url"]


async def test_what_was_refused_for_good_is_listed_and_sent_again(
    server: Server, receiver: Receiver, url: str
) -> None:
    await server.deploy(APPROVAL, "approval")
    receiver.answer = lambda _: web.Response(status=500, text="out of order")
    said = await run("webhooks", "add", "crm", receiver.url, "-t", STATE_CHANGED, "--server", url)
    secret = said.partition("shown this once: ")[2].strip()
    told = await told_of(server, receiver, delivery.MAX_ATTEMPTS + 1)
    await until(server, "crm", lambda one: one["deadLetters"] == 2)
    standardwebhooks.Webhook(secret).verify(receiver.posts[0][1], receiver.posts[0][0])
    assert "HTTP 500: out of order" in await run("webhooks", "list", "--server", url)
    said = await run("webhooks", "dead-letters", "crm", "--limit", "1", "--json", "--server", url)
    page = json.loads(said)
    said = await run("webhooks", "dead-letters", "crm", "--cursor", page["next"], "--json", "--server", url)
    letters = page["deadLetters"] + json.loads(said)["deadLetters"]
    assert [str(one["position"]) for one in letters] == [told[0]["id"], told[-1]["id"]]
    said = await run("webhooks", "redeliver", "crm", "--server", url, code=1)
    assert said == "0 delivered, 2 left. The next one was refused again: HTTP 500: out of order.\n"
    receiver.answer = taken
    last = str(letters[1]["position"])
    said = await run("webhooks", "redeliver", "crm", "--position", last, "--server", url)
    assert said == "1 delivered, 1 left.\n"
    assert await run("webhooks", "redeliver", "crm", "--server", url) == "1 delivered, 0 left.\n"
    assert "No dead letters." in await run("webhooks", "dead-letters", "crm", "--server", url)


async def test_one_is_registered_changed_and_removed_by_the_client(
    server: Server, receiver: Receiver, url: str
) -> None:
    async with AsyncClient(url, actor="ada") as client:
        made = await client.register_webhook("crm", receiver.url, topics=[STATE_CHANGED], reason="a trial")
        assert made["secret"].startswith("whsec_")
        changed = await client.register_webhook("crm", receiver.url, definition="order", labels={"a": "b"})
        assert "secret" not in changed
        assert (changed["topics"], changed["definition"], changed["labels"]) == ([], "order", {"a": "b"})
        assert [one["name"] for one in await client.webhooks()] == ["crm"]
        assert await client.webhook("crm") == (await client.webhooks()).items[0]
        assert [letter async for letter in client.dead_letters_all("crm")] == []
        assert await client.redeliver("crm") == {"delivered": 0, "remaining": 0, "error": None}
        assert await client.remove_webhook("crm", reason="it was one") == {"name": "crm", "removed": True}
        assert (await client.webhooks()).items == []
