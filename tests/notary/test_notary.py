"""The notary over a real log: what it signs, that it goes on from it, and what it refuses to sign."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from engine.clock import ManualClock
from notary.errors import (
    KeyUnusableError,
    LogInconsistentError,
    NotCoveredError,
    NotExportedError,
    SizeOutOfRangeError,
    UnknownEventError,
)
from notary.notary import INTERVAL, Notary
from tenuto.audit.export import lines_of
from tenuto.audit.leaf import leaf_of
from tenuto.audit.note import Verifier, read_checkpoint
from tenuto.audit.sources import rows_of_database
from tenuto.audit.tree import grew, includes, root_of
from tenuto.audit.verifying import Verification
from tests.notary.conftest import Make, told
from tests.projections.histories import Log


async def test_a_checkpoint_signs_the_tree_of_the_log_and_is_exported(
    log: Log, notary_of: Make, tmp_path: Path
) -> None:
    told(log, 700)
    notary = notary_of(batch=300)
    signed = await notary.checkpoint()
    leaves = [leaf_of(row) for row in rows_of_database(log.database, log.schema)]
    assert (signed.checkpoint.size, signed.checkpoint.root) == (700, root_of(leaves))
    verifier = await notary.verifier()
    assert (tmp_path / "checkpoints/checkpoint").read_text() == signed.note
    assert read_checkpoint(Verifier.read(str(verifier)).opened(signed.note)) == signed.checkpoint
    lines = list(lines_of(tmp_path / "checkpoints/checkpoints.jsonl"))
    live = rows_of_database(log.database, log.schema)
    report = Verification(verifier=verifier, live=live).checked(None, lines)
    assert (report.ok, report.size) == (True, 700)


async def test_a_log_that_has_not_grown_is_not_signed_twice(log: Log, notary_of: Make) -> None:
    told(log, 3)
    notary = notary_of()
    first = await notary.checkpoint()
    assert await notary.checkpoint() == first
    told(log, 1)
    assert (await notary.checkpoint()).checkpoint.size == 4
    assert [one.checkpoint.size for one in await notary.checkpoints(0, 10)] == [3, 4]
    assert [one.checkpoint.size for one in await notary.checkpoints(3, 10)] == [4]


async def test_after_a_restart_it_goes_on_with_the_same_key_and_the_same_tree(
    log: Log, notary_of: Make, tmp_path: Path
) -> None:
    roots = []
    for size in (1, 255, 1, 300, 66_000):
        told(log, size)
        signed = await notary_of(batch=7_000).checkpoint()
        roots.append((signed.checkpoint.size, signed.checkpoint.root))
    leaves = [leaf_of(row) for row in rows_of_database(log.database, log.schema)]
    assert roots == [(size, root_of(leaves[:size])) for size, _ in roots]
    assert stat.S_IMODE((tmp_path / "signing.key").stat().st_mode) == 0o600


async def test_two_servers_let_one_tree_grow(log: Log, notary_of: Make) -> None:
    one, other = notary_of(batch=3), notary_of("elsewhere", batch=5)
    for size in (20, 40, 60):
        told(log, 20)
        first, second = await asyncio.gather(one.checkpoint(), other.checkpoint())
        assert first.checkpoint == second.checkpoint
        assert first.checkpoint.size == size


async def test_every_event_is_proved_and_every_growth(log: Log, notary_of: Make) -> None:
    told(log, 300)
    notary = notary_of()
    old = (await notary.checkpoint()).checkpoint
    last = told(log, 300, "0-b")
    new = (await notary.checkpoint()).checkpoint
    for position in range(1, last + 1, 37):
        proof = await notary.inclusion(position=position)
        index = proof.ranked.rank
        assert proof.signed is not None
        assert index == position - 1
        assert includes(new.root, 600, index, leaf_of(proof.ranked.row), proof.hashes)
    proof = await notary.inclusion(stream="0-b", version=3)
    assert proof.ranked.rank == 302
    proof = await notary.inclusion(stream="0-a", version=3, size=300)
    assert includes(old.root, 300, 2, leaf_of(proof.ranked.row), proof.hashes)
    assert grew(old.root, 300, new.root, 600, await notary.consistency(300, 600))


async def test_positions_that_were_rolled_back_are_no_leaves(log: Log, notary_of: Make, admin: Any) -> None:
    told(log, 300)
    admin.execute("SELECT setval('stored_events_notification_id_seq', 1000)")
    told(log, 5)
    notary = notary_of()
    assert (await notary.checkpoint()).checkpoint.size == 305
    assert (await notary.inclusion(position=1003)).ranked.rank == 302
    with pytest.raises(UnknownEventError, match="no event 500"):
        await notary.inclusion(position=500)


async def test_what_no_checkpoint_covers_yet_is_said_so(log: Log, notary_of: Make) -> None:
    told(log, 3)
    notary = notary_of()
    await notary.checkpoint()
    told(log, 1)
    with pytest.raises(NotCoveredError, match="checkpoint of 3 events"):
        await notary.inclusion(position=4)
    with pytest.raises(NotCoveredError):
        await notary.inclusion(position=3, size=2)
    with pytest.raises(SizeOutOfRangeError, match="at most 3"):
        await notary.inclusion(position=1, size=9)


@pytest.mark.parametrize(("first", "second"), [(0, 3), (3, 2), (1, 4), (-1, 2)])
async def test_sizes_out_of_range_are_refused(first: int, second: int, log: Log, notary_of: Make) -> None:
    told(log, 3)
    notary = notary_of()
    await notary.checkpoint()
    with pytest.raises(SizeOutOfRangeError):
        await notary.consistency(first, second)


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        ("DELETE FROM stored_events WHERE notification_id = 3", "it has 9 events"),
        ("UPDATE stored_events SET state = '{}' WHERE notification_id = 3", "another root"),
        ("TRUNCATE stored_events", "it has 0 events"),
    ],
)
async def test_made_again_from_a_log_that_was_changed_it_signs_nothing(
    tampering: str, said: str, log: Log, notary_of: Make, admin: Any
) -> None:
    told(log, 10)
    await notary_of().checkpoint()
    admin.execute(f"DROP SCHEMA {log.schema}_notary CASCADE")
    admin.execute(tampering)
    notary = notary_of()
    with pytest.raises(LogInconsistentError, match=said):
        await notary.checkpoint()
    assert said in (notary.standing().problem or "")


async def test_an_old_backup_is_not_signed_nor_when_work_goes_on_upon_it(
    log: Log, notary_of: Make, admin: Any
) -> None:
    """The whole database is restored, the notary's tables too; only the exported file knows better."""
    told(log, 300)
    await notary_of().checkpoint()
    admin.execute(f"SET search_path = {log.schema}, {log.schema}_notary")
    tables = ("stored_events", "head", "tiles", "checkpoints")
    for table in tables:
        admin.execute(f"CREATE TABLE backup_{table} AS TABLE {table}")
    told(log, 10)
    await notary_of().checkpoint()
    for table in tables:
        admin.execute(f"TRUNCATE {table}")
        admin.execute(f"INSERT INTO {table} TABLE backup_{table}")
    notary = notary_of()
    with pytest.raises(LogInconsistentError, match="it has 300 events, and a checkpoint of 310"):
        await notary.checkpoint()
    told(log, 20, "0-other")
    with pytest.raises(LogInconsistentError, match="its first 310 events have another root"):
        await notary.checkpoint()


async def test_made_again_from_the_same_log_it_goes_on(log: Log, notary_of: Make, admin: Any) -> None:
    told(log, 10)
    first = await notary_of().checkpoint()
    admin.execute(f"DROP SCHEMA {log.schema}_notary CASCADE")
    told(log, 1)
    second = await notary_of().checkpoint()
    assert (second.checkpoint.origin, second.checkpoint.size) == (first.checkpoint.origin, 11)


async def test_a_tree_that_was_changed_is_not_signed(log: Log, notary_of: Make, admin: Any) -> None:
    told(log, 300)
    await notary_of().checkpoint()
    told(log, 1)
    admin.execute(f"SET search_path = {log.schema}_notary")
    admin.execute("UPDATE tiles SET hashes = sha256('x') WHERE level = 1")
    with pytest.raises(LogInconsistentError, match="another root"):
        await notary_of().checkpoint()
    admin.execute("DELETE FROM tiles WHERE level = 1")
    with pytest.raises(LogInconsistentError, match="lost a part"):
        await notary_of().checkpoint()


async def test_an_event_that_was_changed_later_has_no_proof(log: Log, notary_of: Make, admin: Any) -> None:
    told(log, 10)
    notary = notary_of()
    await notary.checkpoint()
    admin.execute("UPDATE stored_events SET state = '{}' WHERE notification_id = 3")
    with pytest.raises(LogInconsistentError, match="position 3"):
        await notary.inclusion(position=3)


async def test_a_folder_of_another_log_is_refused(log: Log, notary_of: Make, tmp_path: Path) -> None:
    told(log, 3)
    await notary_of().checkpoint()
    path = tmp_path / "checkpoints/checkpoints.jsonl"
    head, *rest = path.read_text().splitlines()
    other = json.loads(head) | {"origin": "tenuto/other"}
    path.write_text("\n".join([json.dumps(other), *rest, ""]))
    with pytest.raises(LogInconsistentError, match="the log tenuto/other"):
        await notary_of().checkpoint()


async def test_a_checkpoint_that_another_key_has_signed_is_refused(log: Log, notary_of: Make) -> None:
    told(log, 3)
    await notary_of().checkpoint()
    with pytest.raises(LogInconsistentError, match="not signed by"):
        await notary_of(key="another.key").checkpoint()


async def test_a_line_that_a_crash_left_half_written_is_written_again(
    log: Log, notary_of: Make, tmp_path: Path
) -> None:
    told(log, 3)
    await notary_of().checkpoint()
    told(log, 1)
    await notary_of().checkpoint()
    path = tmp_path / "checkpoints/checkpoints.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    assert (await notary_of().checkpoint()).checkpoint.size == 4
    assert path.read_bytes() == whole


async def test_a_folder_that_cannot_be_written_is_said_and_mended(
    log: Log, notary_of: Make, tmp_path: Path
) -> None:
    told(log, 3)
    (tmp_path / "checkpoints").write_text("no folder")
    notary = notary_of()
    with pytest.raises(NotExportedError, match="File exists"):
        await notary.checkpoint()
    assert "File exists" in (notary.standing().problem or "")
    (tmp_path / "checkpoints").unlink()
    await notary.checkpoint()
    assert notary.standing().problem is None


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("nonsense", 0o600, "no unencrypted private key"),
        ("", 0o600, "no unencrypted"),
        ("x", 0o644, "chmod 600"),
    ],
)
async def test_a_key_that_cannot_be_used_is_said(
    content: str, mode: int, said: str, log: Log, notary_of: Make, tmp_path: Path
) -> None:
    told(log, 3)
    path = tmp_path / "signing.key"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(KeyUnusableError, match=said):
        await notary_of().checkpoint()


async def test_it_signs_once_a_minute_by_itself(log: Log, notary_of: Make, clock: ManualClock) -> None:
    told(log, 3)
    notary = notary_of()
    notary.start()
    await passing(clock, notary, 3)
    told(log, 2)
    started = clock.monotonic()
    notary.wake()
    await passing(clock, notary, 5)
    assert INTERVAL - 10 < clock.monotonic() - started < INTERVAL + 10


async def passing(clock: ManualClock, notary: Notary, size: int) -> None:
    """Lets time pass until so many events are signed; its threads need moments of the real one."""
    async with asyncio.timeout(30):
        while notary.standing().exported != size:
            clock.advance(0.5)
            await asyncio.wait_for(notary.checkpoints(0, 1), 10)


async def test_it_gets_up_again_when_its_connections_are_cut(
    log: Log, notary_of: Make, clock: ManualClock, admin: Any
) -> None:
    told(log, 3)
    notary = notary_of(interval=0.0)
    notary.start()
    await passing(clock, notary, 3)
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tenuto notary'"
    )
    told(log, 2)
    await passing(clock, notary, 5)
