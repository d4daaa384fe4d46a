"""What a superuser of the database can do to the log, on a real one: all of it is found, and its first place named."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tenuto.audit.leaf import Row
from tenuto.audit.sources import rows_of_database
from tests.audit.test_tampering import compare, exported, first_difference
from tests.projections.histories import Log

EVENTS = 60
Admin = psycopg.Connection[Any]


def edit(admin: Admin, dice: random.Random, at: int) -> None:
    change = dice.choice(
        [
            "state = '{}'",
            "state = NULL",
            "topic = 'Paused'",
            "originator_id = '0-x'",
            "originator_version = 999",
        ]
    )
    admin.execute(f"UPDATE stored_events SET {change} WHERE notification_id = {at}".encode())  # noqa: S608 - a table of ours


def delete(admin: Admin, dice: random.Random, at: int) -> None:
    admin.execute(
        "DELETE FROM stored_events WHERE notification_id BETWEEN %s AND %s", (at, at + dice.randint(0, 3))
    )


def insert(admin: Admin, dice: random.Random, at: int) -> None:
    """Everything after it moves on by one; signs keep the unique index quiet meanwhile."""
    admin.execute(
        "UPDATE stored_events SET notification_id = -notification_id - 1 WHERE notification_id >= %s", (at,)
    )
    admin.execute("UPDATE stored_events SET notification_id = -notification_id WHERE notification_id < 0")
    admin.execute("INSERT INTO stored_events VALUES ('0-forged', 1, 'Paused', '{}', %s)", (at,))


def reorder(admin: Admin, dice: random.Random, at: int) -> None:
    other = at + dice.randint(1, 5)
    admin.execute("UPDATE stored_events SET notification_id = -1 WHERE notification_id = %s", (at,))
    admin.execute("UPDATE stored_events SET notification_id = %s WHERE notification_id = %s", (at, other))
    admin.execute("UPDATE stored_events SET notification_id = %s WHERE notification_id = -1", (other,))


def truncate(admin: Admin, dice: random.Random, at: int) -> None:
    admin.execute("DELETE FROM stored_events WHERE notification_id >= %s", (at,))


def fork(admin: Admin, dice: random.Random, at: int) -> None:
    admin.execute("UPDATE stored_events SET state = '{\"fork\":1}' WHERE notification_id >= %s", (at,))


def restore(admin: Admin, dice: random.Random, at: int) -> None:
    """An old backup, on which work went on."""
    truncate(admin, dice, at)
    for number in range(dice.randint(1, 2 * EVENTS)):
        admin.execute(
            "INSERT INTO stored_events VALUES ('0-new', %s, 'Paused', '{}', %s)", (number, at + number)
        )


@pytest.mark.parametrize("tamper", [edit, delete, insert, reorder, truncate, fork, restore])
def test_what_a_superuser_does_is_found_and_its_first_position_named(
    tamper: Callable[[Admin, random.Random, int], None], log: Log
) -> None:
    log.append_raw([(f"0-{n % 4}", n // 4 + 1, "StepCompleted", b'{"n":%d}' % n) for n in range(EVENTS)])
    before = list(rows_of_database(log.database, log.schema))
    lines = exported(before, [20, 50])
    assert compare(lines, list(rows_of_database(log.database, log.schema))).ok
    with psycopg.connect(log.database, autocommit=True, options=f"-c search_path={log.schema}") as admin:
        admin.execute("CREATE TABLE kept AS SELECT * FROM stored_events")
        for seed in range(8):
            dice = random.Random(seed)
            tamper(admin, dice, dice.randint(1, 45))
            after: list[Row] = list(rows_of_database(log.database, log.schema))
            at = first_difference(before, after)
            found = compare(lines, after).difference
            assert found is not None, seed
            assert (found.index, found.position) == (at, before[at].position), seed
            admin.execute("TRUNCATE stored_events")
            admin.execute("INSERT INTO stored_events SELECT * FROM kept")
