"""What the README and the docs tell a newcomer to type, call and open exists."""

from __future__ import annotations

import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from typer.main import get_command

from domain.definition.parse import read_definition
from tenuto.activity import Activity
from tenuto.cli.app import app
from tenuto.worker import Worker

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
HOW_TO = [page for page in PAGES if page.parent.name == "how-to"]
FENCE = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
COMMANDS: dict[str, click.Command] = get_command(app).commands  # type: ignore[attr-defined]


def blocks(page: Path, kind: str) -> list[str]:
    return [found["text"] for found in FENCE.finditer(page.read_text()) if found["kind"] == kind]


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The headings of a page, spelt as GitHub's links to them are."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> list[list[str]]:
    """Every `tenuto …` line of a page's shell blocks and inline code, as words after `tenuto`."""
    joined = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines()]
    lines += re.findall(r"`(tenuto [^`]*)`", prose(page))
    told = [shlex.split(line.replace("…", ""), comments=True) for line in lines if " " in line]
    return [words[1:] for words in told if words and words[0] == "tenuto"]


def test_the_readmes_definition_deploys() -> None:
    (text,) = blocks(ROOT / "README.md", "yaml")
    deployable = read_definition(text)
    assert deployable.model.name == "greeting"
    assert [finding for finding in deployable.findings if finding.severity == "error"] == []


def test_the_readmes_worker_does_what_the_definition_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = blocks(ROOT / "README.md", "python")
    started: list[Worker] = []

    def run_forever(worker: Worker) -> None:
        started.append(worker)

    monkeypatch.setattr(Worker, "run_forever", run_forever)
    module: dict[str, Any] = vars(ModuleType("readme")) | {"__name__": "__main__"}
    exec(compile(text, "README.md", "exec"), module)  # noqa: S102 - our own README
    greet = module["greet"]
    assert isinstance(greet, Activity)
    assert greet({"name": "Ada"}) == {"text": "Hello, Ada"}
    assert greet.action in blocks(ROOT / "README.md", "yaml")[0]
    assert [worker.queues for worker in started] == [["hello"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        assert aim.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(aim), f"{page.name}: {target}"


def test_the_readme_leads_to_every_page() -> None:
    """A decision is reached through the list of decisions."""
    linked = {
        (ROOT / target.partition("#")[0]).resolve() for target in LINK.findall(prose(ROOT / "README.md"))
    }
    assert {page for page in PAGES if page.parent.name != "decisions"} <= linked | {ROOT / "README.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_target_of_make_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shell = "\n".join(blocks(page, "sh"))
    told = re.findall(r"`make ([a-z]+)", prose(page)) + re.findall(r"^make ([a-z]+)", shell, re.MULTILINE)
    assert set(told) <= targets
    if page == ROOT / "README.md":
        assert {"demo", "test", "setup"} <= set(told)


def test_there_are_commands_to_check() -> None:
    assert len(commands(ROOT / "README.md")) >= 5
    assert all(commands(page) for page in HOW_TO)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_told_can_be_typed(page: Path) -> None:
    for words in commands(page):
        name, *rest = words
        if name.startswith("-"):
            continue
        assert name in COMMANDS, f"{page.name}: tenuto {name}"
        command = COMMANDS[name]
        family: dict[str, click.Command] = getattr(command, "commands", {})
        if family:  # The next word says which of it.
            assert rest[0] in family, f"{page.name}: tenuto {name} {rest[0]}"
            command = family[rest[0]]
        known = {option for parameter in command.params for option in parameter.opts}
        used = {word for word in rest if re.fullmatch(r"--?[a-z][a-z-]*", word)}
        assert used <= known | {"--help", "-h"}, f"{page.name}: tenuto {name} {used - known}"


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.name)
def test_every_address_that_is_told_is_a_route(page: Path) -> None:
    paths = json.loads((ROOT / "docs/reference/openapi.json").read_text())["paths"]
    routes = [re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))) for path in paths]
    for told in re.findall(r"localhost:8080(/[^\s?]*)", "\n".join(blocks(page, "sh"))):
        assert any(route.fullmatch(told) for route in routes), told


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path) -> None:
    for text in blocks(page, "python"):
        exec(compile(text, page.name, "exec"), {"__name__": "page"})  # noqa: S102 - our own pages


def test_every_module_that_is_run_exists() -> None:
    told = re.findall(r"python -m ([\w.]+)", "".join(page.read_text() for page in PAGES))
    assert "examples.greeting.worker" in told
    for module in told:
        assert find_spec(module) is not None, module
