"""`docs/how-to/change-running-workflows.md` as it is told: every command typed at a real server."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.api.conftest import Server
from tests.api.test_audit_cli import run, url
from tests.test_docs import ROOT, YAML

__all__ = ["url"]

PAGE = (ROOT / "docs/how-to/change-running-workflows.md").read_text()
OLD, NEW = YAML.findall(PAGE)
SHOWN = re.findall(r"^```\n(0-.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def told(block: str, url: str, **instead: str) -> Iterator[list[str]]:
    """The commands of a block, with what stands for a name put in."""
    for line in block.splitlines():
        words = [instead.get(word, word) for word in shlex.split(line.replace("0-0199…", "INSTANCE"))]
        assert words[0] == "tenuto"
        yield [*words[1:], "--server", url]


async def packed(server: Server, count: int) -> list[str]:
    """Parcels that are to be shipped."""
    ids = [str((await server.start("delivery"))["id"]) for _ in range(count)]
    for id in ids:
        assert (await server.work("store", {"parcel": 7}))["instanceId"] == id
    return ids


async def listed(server: Server) -> None:
    (last,) = (await server.wiring.store.read(str((await server.start("delivery"))["id"])))[-1:]
    assert await server.wiring.runner.wait_for(last.position, 10, "instances")


async def test_the_page_moves_one_and_all_as_it_says(server: Server, url: str, tmp_path: Path) -> None:
    await server.deploy(OLD, "delivery")
    first, second = await packed(server, 2)
    file = tmp_path / "new.yaml"
    file.write_text(NEW)
    put = {"INSTANCE": first, "new.yaml": str(file)}
    deploy, unmapped = told(BLOCKS[0], url, **put)
    (mapped,) = told(BLOCKS[1], url, **put)
    await run(*deploy)
    before = await server.events()
    assert await run(*unmapped, code=1) == SHOWN[0].replace("0-0199…", first)
    assert await run(*mapped) == SHOWN[1].replace("0-0199…", first)
    assert await server.events() == before, "a dry run stores nothing"
    one, dry, every = told(BLOCKS[2], url, **put)
    assert await run(*one) == f"migrate: {first} goes on in version 2.\n"
    await listed(server)
    await server.post(f"/v1/instances/{second}/cancel", {"reason": "so that one cannot move", "actor": "ann"})
    before = await server.events()
    said = await run(*dry, code=1)
    assert await server.events() == before
    assert re.fullmatch(rf"{second}: .*undoing.*\nmigrate: 1 refused \(dry run: .*\)\.\n", said), said
    assert f"{second}: " in await run(*every, code=1)
    task = await server.work("post", {})
    assert (task["instanceId"], task["step"], task["idempotencyKey"]) == (first, "send", f"{first}/ship#1")
    assert (await server.get(f"/v1/instances/{first}"))["result"] == {"parcel": 7}


async def test_the_page_begins_again_as_it_says(server: Server, url: str) -> None:
    await server.deploy(OLD.replace("steps:", "onFailure: fail\nsteps:"), "delivery")
    (old,) = await packed(server, 1)
    await server.work("store", type="NoCarrierError", message="gone", retryable=False)
    before = (await server.get(f"/v1/instances/{old}/events"))["events"]
    for words in told(BLOCKS[3], url, INSTANCE=old):
        said = await run(*words)
        found = re.search(
            rf"(0-\S+) goes on from version (\d+) of {old} and is running\. See: tenuto show \1\n", said
        )
        assert found, said
        view = await server.get(f"/v1/instances/{found[1]}")
        assert view["forkedFrom"] == {"instanceId": old, "version": int(found[2])}
        if "--data" in words:
            assert view["data"]["address"] == "Bremen"
    assert (await server.get(f"/v1/instances/{old}/events"))["events"] == before


async def test_the_page_does_the_same_to_many_as_it_says(server: Server, url: str) -> None:
    await server.deploy(OLD, "delivery")
    ids = await packed(server, 2)
    await listed(server)
    dry, pause, resume = told(BLOCKS[4], url)
    before = await server.events()
    assert await run(*dry) == "pause: 3 possible (dry run: nothing was stored).\n"
    assert await server.events() == before
    assert await run(*pause) == "pause: 3 done.\n"
    assert [(await server.get(f"/v1/instances/{id}"))["paused"] for id in ids] == [True, True]
    assert await run(*resume) == "resume: 3 done.\n"
    assert [(await server.get(f"/v1/instances/{id}"))["paused"] for id in ids] == [False, False]
