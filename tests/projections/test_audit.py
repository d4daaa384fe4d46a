"""The audit log: who, when, why, by which request, of everything that people and deploys have done."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from psycopg_pool import AsyncConnectionPool

from domain.codec import TOPICS
from domain.events import CompensationStarted, DefinitionDeployed, Paused, StepRetried
from domain.other_events import WebhookDisabled, WebhookRegistered, WebhookRemoved
from projections.audit import ACTS, ALL_KINDS, KINDS
from projections.audit_queries import AuditEntry, AuditFilters, AuditQueries
from projections.follower import Follower
from projections.pages import BadCursorError
from tests.projections.histories import NOON, Command, Log, after, command, happy, stuck

PAGE = (Path(__file__).parents[2] / "docs/reference/events.md").read_text()
DEPLOYED = DefinitionDeployed(
    namespace="default", name="order", version="2", hash="abc", source="…", document={"name": "order"}
)
Follow = Callable[..., Follower]
Ask = Callable[..., Any]


@pytest.fixture
async def ask(log: Log, views: str, follower_of: Follow) -> AsyncIterator[Ask]:
    """Follows to the end of the log in batches of `batch`, and answers the entries for the filters."""
    async with AsyncConnectionPool(log.database, min_size=1, max_size=2, open=False) as pool:
        queries = AuditQueries(pool, views)

        async def entries(batch: int = 250, **filters: Any) -> list[AuditEntry]:
            follower, end = follower_of("audit", batch=batch), log.end()
            while follower.advance() < end:
                pass
            return (await queries.entries(AuditFilters(**filters))).items

        entries.queries = queries  # type: ignore[attr-defined]
        yield entries


def asked_by(request: str, told: Command) -> Command:
    """The command, as if a request had asked for it."""
    told[0].request_id = request
    return told


def story() -> list[tuple[str, Command]]:
    """A deploy, a start, a pause, and a failure that an operator retries."""
    log = [("definition/default/order", asked_by("r-0", command(0, DEPLOYED, actor="eve", reason="CI")))]
    first, *rest = happy()
    log.append(("i1", asked_by("r-1", first)))
    log += [("i1", each) for each in rest]
    log += [("i2", each) for each in stuck()]
    log.append(("i1", asked_by("r-2", command(200, Paused(), actor="ada", reason="a look"))))
    return log


async def test_each_entry_says_who_when_why_and_by_which_request(log: Log, ask: Ask) -> None:
    log.append(story())
    (paused,) = await ask(actor="ada", kinds=["act"])
    assert (paused.event, paused.instance_id, paused.definition) == ("Paused", "i1", "order")
    assert (paused.reason, paused.request_id, paused.timestamp) == (
        "a look",
        "r-2",
        "2026-11-23T12:03:20.000000Z",
    )
    (deployed,) = await ask(kinds=["deploy"])
    assert (deployed.instance_id, deployed.definition, deployed.actor) == (None, "order", "eve")
    assert deployed.detail == {"name": "order", "version": "2", "hash": "abc"}
    (retried,) = await ask(instance="i2", kinds=["act"])
    assert (retried.event, retried.actor) == (StepRetried.__name__, "bob")
    assert retried.detail["execution"]


@pytest.mark.parametrize("batch", [1, 2, 3, 250])
async def test_a_change_of_status_knows_the_request_wherever_a_batch_is_cut(
    batch: int, log: Log, ask: Ask
) -> None:
    log.append(story())
    found = await ask(batch, instance="i1", request_id="r-1")
    assert [entry.event for entry in found] == ["StatusChanged", "InstanceStarted"]
    assert found[0].detail == {"from": "pending", "to": "running"}


async def test_filters_by_time_definition_and_namespace(log: Log, ask: Ask) -> None:
    log.append(story())
    assert {entry.event for entry in await ask(at_after=after(200))} == {"Paused"}
    assert {entry.event for entry in await ask(at_before=NOON)} == set()
    assert len(await ask(definition="order")) == len(await ask())
    assert await ask(namespace="other") == []


async def test_pages_go_on_and_a_cursor_belongs_to_its_question(log: Log, ask: Ask) -> None:
    log.append(story())
    every = await ask()
    queries = ask.queries  # type: ignore[attr-defined]
    found: list[AuditEntry] = []
    cursor = None
    while True:
        page = await queries.entries(AuditFilters(), limit=2, cursor=cursor)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    assert found == every
    first = await queries.entries(AuditFilters(), limit=2)
    with pytest.raises(BadCursorError):
        await queries.entries(AuditFilters(actor="ada"), cursor=first.next)


async def test_a_rollback_is_an_act_when_an_operator_began_it_only(log: Log, ask: Ask) -> None:
    by_hand = CompensationStarted(trigger="operator", executions=["a#1"])
    by_rule = CompensationStarted(trigger="failure", executions=["a#1"])
    log.append([("i1", each) for each in happy()[:1]])
    log.append([("i1", command(1, by_rule)), ("i1", command(2, by_hand, actor="ada", reason="wrong"))])
    (entry,) = await ask(kinds=["act"])
    assert (entry.event, entry.detail) == ("CompensationStarted", {"executions": ["a#1"]})


@pytest.mark.parametrize("batch", [1, 250])
async def test_who_has_events_sent_where_is_on_record(batch: int, log: Log, ask: Ask) -> None:
    registered = WebhookRegistered(
        namespace="default", name="crm", url="https://crm.example/t", secret_id="s-1", topics=["StepFailed"]
    )
    stream = "webhook/default/crm"
    log.append([(stream, asked_by("r-1", command(0, registered, actor="eve", reason="the CRM asks")))])
    log.append([(stream, command(1, WebhookDisabled(why="gone"), actor="tenuto"))])
    log.append([(stream, command(2, WebhookRemoved(), actor="ada", reason="a leak"))])
    removed, disabled, made = await ask(batch, kinds=["webhook"])
    assert (made.actor, made.reason, made.request_id) == ("eve", "the CRM asks", "r-1")
    assert (made.instance_id, made.definition) == (None, None)
    assert made.detail == {"name": "crm", "url": "https://crm.example/t", "topics": ["StepFailed"]}
    assert (removed.event, removed.actor, removed.detail) == ("WebhookRemoved", "ada", {"name": "crm"})
    assert disabled.detail == {"name": "crm"}
    assert await ask(batch, namespace="other") == []


def test_every_act_of_a_person_counts() -> None:
    section = PAGE.partition("## Acts of a person")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) <= set(ACTS)


def test_what_counts_exists_or_is_promised() -> None:
    assert set(KINDS) - set(TOPICS) <= {"Migrated"}
    assert set(KINDS.values()) == set(ALL_KINDS)


def test_an_entry_is_written_as_the_wire_has_it() -> None:
    fields = msgspec.json.schema(AuditEntry)["$defs"]["AuditEntry"]["properties"]
    assert {"instanceId", "requestId", "timestamp", "actor", "reason", "kind"} <= set(fields)
