"""A thousand ways to change a log, each found up to the last exported checkpoint, and its first place named.

Here the log is rows in memory; tests/notary/test_database_tampering.py does it to a real database, as its superuser.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tenuto.audit.errors import BadExportError, CutOffError, OtherLogError, WrongKeyError
from tenuto.audit.export import CHECKPOINTS, EXPORT, Line, append, leaf_line, lines_of
from tenuto.audit.leaf import Row, leaf_of
from tenuto.audit.note import Checkpoint, Signer
from tenuto.audit.tree import Frontier
from tenuto.audit.verifying import Report, Verification

ORIGIN = "tenuto/test"
KEY = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"k" * 32))
Log = list[Row]
Lines = list[tuple[int, Line]]


def log_of(dice: random.Random, size: int) -> Log:
    """Positions with gaps, as rolled back appends leave them."""
    rows, position, versions = [], 0, {f"0-{name}": 0 for name in "abcd"}
    for number in range(size):
        position += dice.choice((1, 1, 1, 2, 5))
        stream = dice.choice(list(versions))
        versions[stream] += 1
        rows.append(Row(position, stream, versions[stream], "StepCompleted", b'{"n":%d}' % number))
    return rows


def exported(log: Log, ends: list[int], *, events: bool = False, key: Signer = KEY) -> Lines:
    """An export with a checkpoint at each of these sizes."""
    frontier, lines = Frontier(), [Line(format=EXPORT, origin=ORIGIN, key=str(key.verifier))]
    for index, row in enumerate(log):
        frontier.append(leaf_of(row))
        lines.append(leaf_line(index, leaf_of(row), row, events=events))
        if index + 1 in ends:
            note = key.sign(Checkpoint(ORIGIN, frontier.size, frontier.root).text)
            lines.append(Line(checkpoint=note, size=frontier.size))
    return list(enumerate([*lines, Line(end=len(log))], start=1))


def alone(lines: Lines) -> Lines:
    """The checkpoints of an export, as the server's own file has them."""
    kept = [line for _, line in lines if line.checkpoint is not None]
    head = Line(format=CHECKPOINTS, origin=ORIGIN, key=str(KEY.verifier))
    return list(enumerate([head, *kept], start=1))


def edit(dice: random.Random, log: Log, covered: int) -> Log:
    index = dice.randrange(covered)
    row = log[index]
    changes: list[dict[str, object]] = [
        {"payload": (row.payload or b"") + b" "},
        {"payload": None},
        {"topic": "StepFailed"},
        {"version": row.version + 1},
        {"stream": row.stream + "x"},
    ]
    return [*log[:index], row._replace(**dice.choice(changes)), *log[index + 1 :]]  # type: ignore[arg-type]


def delete(dice: random.Random, log: Log, covered: int) -> Log:
    begin = dice.randrange(covered)
    return log[:begin] + log[begin + dice.randint(1, 5) :]


def insert(dice: random.Random, log: Log, covered: int) -> Log:
    """Where a gap is, or with everything after it moved on."""
    index = dice.randrange(covered)
    forged = Row(log[index].position, "0-forged", 1, "StepCompleted", b"{}")
    before = log[index - 1].position if index else 0
    if log[index].position - before > 1:
        return [*log[:index], forged._replace(position=before + 1), *log[index:]]
    return [*log[:index], forged, *(row._replace(position=row.position + 1) for row in log[index:])]


def reorder(dice: random.Random, log: Log, covered: int) -> Log:
    """Two events change places, and the positions stay where they are."""
    one, other = dice.sample(range(covered), 2)
    changed = list(log)
    changed[one] = log[other]._replace(position=log[one].position)
    changed[other] = log[one]._replace(position=log[other].position)
    return changed


def truncate(dice: random.Random, log: Log, covered: int) -> Log:
    return log[: dice.randrange(covered)]


def fork(dice: random.Random, log: Log, covered: int) -> Log:
    """Another history from some event on, and a longer one."""
    begin = dice.randrange(covered)
    return log[:begin] + [row._replace(payload=b'{"fork":true}') for row in log[begin:]] + log_of(dice, 3)


def restore(dice: random.Random, log: Log, covered: int) -> Log:
    """An old backup, on which work has gone on."""
    begin = dice.randrange(covered)
    last = log[begin - 1].position if begin else 0
    new = [Row(last + 1 + n, "0-new", 1 + n, "InstanceStarted", b"{}") for n in range(dice.randrange(60))]
    return log[:begin] + new


TAMPERINGS: list[Callable[[random.Random, Log, int], Log]] = [
    edit,
    delete,
    insert,
    reorder,
    truncate,
    fork,
    restore,
]


def first_difference(log: Log, changed: Log) -> int:
    pairs = zip(log, changed, strict=False)
    return next((index for index, (one, other) in enumerate(pairs) if one != other), len(changed))


def tampered(seed: int) -> tuple[Log, Lines, Log, int]:
    dice = random.Random(seed)
    log = log_of(dice, dice.randint(3, 60))
    ends = sorted(dice.sample(range(2, len(log) + 1), dice.randint(1, min(4, len(log) - 1))))
    changed = TAMPERINGS[seed % len(TAMPERINGS)](dice, log, ends[-1])
    return log, exported(log, ends), changed, ends[-1]


def compare(lines: Lines | None, live: Log | None, checkpoints: Lines | None = None) -> Report:
    return Verification(verifier=KEY.verifier, origin=ORIGIN, live=live).checked(lines, checkpoints)


@pytest.mark.parametrize("hundred", range(10))
def test_a_thousand_tamperings_are_found_and_the_first_differing_position_is_named(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        log, lines, changed, covered = tampered(seed)
        at = first_difference(log, changed)
        if at >= covered:  # A deletion at the very end may reach beyond the checkpoint only.
            pytest.fail(f"seed {seed} changed nothing that is covered")
        found = compare(lines, changed).difference
        assert found is not None, seed
        assert (found.index, found.position) == (at, log[at].position), seed
        assert (found.what == "cut off") == (at == len(changed)), seed


@pytest.mark.parametrize("seed", range(70))
def test_checkpoints_alone_show_that_a_log_was_changed_and_between_which_two(seed: int) -> None:
    log, lines, changed, _ = tampered(seed)
    at = first_difference(log, changed)
    found = compare(None, changed, alone(lines)).difference
    assert found is not None
    assert found.index <= at < found.until


@pytest.mark.parametrize("seed", range(20))
def test_the_log_itself_is_found_unchanged(seed: int) -> None:
    log, lines, _, covered = tampered(seed)
    report = compare(lines, log, alone(lines))
    assert report.ok
    assert (report.size, report.compared, report.uncovered) == (covered, len(log), len(log) - covered)
    assert compare(None, log, alone(lines)).size == covered
    assert compare(lines, None).size == covered


def test_what_came_after_the_last_checkpoint_is_not_covered_and_the_report_says_so() -> None:
    log = log_of(random.Random(1), 10)
    report = compare(exported(log, [6]), [*log[:6]] + [row._replace(payload=b"?") for row in log[6:]])
    assert report.size == 6
    assert report.difference is not None, "an export holds the leaves after its last checkpoint, too"
    assert report.difference.index == 6
    assert compare(None, log[:6], alone(exported(log, [6]))).ok


def test_an_export_whose_events_were_changed_is_found_offline() -> None:
    lines = exported(log_of(random.Random(1), 10), [10], events=True)
    lines[4][1].payload = "{}"
    found = compare(lines, None).difference
    assert found is not None
    assert (found.what, found.index) == ("changed", 3)


def test_an_export_whose_leaves_were_changed_is_found_offline() -> None:
    log = log_of(random.Random(1), 10)
    lines = exported([*log[:7], log[7]._replace(payload=b"forged"), *log[8:]], [])
    honest = exported(log, [5, 10])
    found = compare(lines, None, alone(honest)).difference
    assert found is not None
    assert (found.what, found.index, found.until) == ("unlocated", 5, 10)


def test_an_export_that_is_shorter_than_a_checkpoint_kept_elsewhere_is_cut_off() -> None:
    log = log_of(random.Random(1), 10)
    found = compare(exported(log[:7], [5]), None, alone(exported(log, [5, 10]))).difference
    assert found is not None
    assert (found.what, found.index, found.until) == ("cut off", 7, 10)


def test_two_checkpoints_of_one_size_and_two_roots_are_a_fork() -> None:
    log = log_of(random.Random(1), 10)
    both = exported(log, [10]), exported([*log[:9], log[9]._replace(payload=b"other")], [10])
    lines = [*alone(both[0]), *alone(both[1])[1:]]
    found = compare(None, log, lines).difference
    assert found is not None
    assert "forked" in found.said


def test_another_key_and_another_log_are_refused() -> None:
    lines = exported(log_of(random.Random(1), 10), [5])
    stranger = Signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"s" * 32)).verifier
    with pytest.raises(WrongKeyError, match="not signed by"):
        Verification(verifier=stranger).checked(lines)
    with pytest.raises(OtherLogError, match="not of tenuto/other"):
        Verification(verifier=KEY.verifier, origin="tenuto/other").checked(lines)


def test_a_checkpoint_of_another_log_among_ours_is_refused() -> None:
    lines = exported(log_of(random.Random(1), 3), [2])
    note = KEY.sign(Checkpoint("tenuto/other", 3, bytes(32)).text)
    lines[-1] = (len(lines), Line(checkpoint=note, size=3))
    with pytest.raises(OtherLogError, match="tenuto/other"):
        compare(lines, None)


@pytest.mark.parametrize("seed", range(40))
def test_a_file_cut_anywhere_is_refused(seed: int, tmp_path: Path) -> None:
    """But for its whole self; the error says where it ends."""
    path = tmp_path / "export.jsonl"
    append(path, *(line for _, line in exported(log_of(random.Random(seed), 12), [5, 12], events=True)))
    whole = path.read_bytes()
    assert compare(list(lines_of(path)), None).ok
    path.write_bytes(whole[: random.Random(seed).randrange(len(whole))])
    with pytest.raises(CutOffError, match=r"cut off|is empty"):
        compare(list(lines_of(path)), None)


@pytest.mark.parametrize(
    ("number", "line", "said"),
    [
        (3, b"{}", "none of an export"),
        (3, b"nonsense", "no line of an export"),
        (3, b'{"surprise": 1}', "no line of an export"),
        (3, b'{"end": 9}', "had 9 leaves"),
        (3, b'{"index": 7, "position": 9, "leaf": ""}', "out of order"),
        (3, b'{"index": 1, "position": 0, "leaf": ""}', "out of order"),
        (3, b'{"index": 1, "position": 99, "leaf": "?"}', "line 3"),
        (1, b"{}", "no export of Tenuto"),
        (1, b'{"format": "tenuto-export/9", "origin": "o", "key": "k"}', "does not know"),
        (2, b'{"format": "tenuto-export/1", "origin": "o", "key": "k"}', "put together"),
    ],
)
def test_a_line_that_is_none_is_refused_with_its_number(
    number: int, line: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "export.jsonl"
    append(path, *(line for _, line in exported(log_of(random.Random(1), 5), [5])))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = line + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(BadExportError, match=said):
        compare(list(lines_of(path)), None)
