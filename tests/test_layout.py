"""The tree keeps its shape: what must stand where, what must never be committed, how long things may grow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
SERVER = ("api", "connectors", "domain", "engine", "feeds", "notary", "projections", "examples", "simulation")

LONGEST_FILE = 400  # lines
LONGEST_TEST_FILE = 600  # lines; tests come in long lists
LONGEST_FUNCTION = 60  # lines
# What may be longer, and why. "path" for a file, "path:name" for a function.
LONGER: dict[str, str] = {
    "tests/domain/test_verify.py": "a table: every broken definition with its exact findings",
    "simulation/mutants.py": "a table: every broken engine, with the text that breaks it",
    "tests/engine/test_store_contract.py": "the whole contract of a store, in one place",
    "api/routes/lists.py:list_instances": "one documented parameter for each filter",
}

# Split, so that this file passes its own test.
REGISTRIES = [".".join(host) for host in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"))]
MACHINES = re.compile(r"(?<![\w.~-])/(?:home|Users|root|wo[r]k)/(?!\.\.\.)\w")
BINARY = {".png", ".ico", ".woff2", ".jpg", ".gif", ".webp", ".pdf", ".sqlite"}


def tracked() -> list[Path]:
    """Every file that is, or is about to be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and path.suffix not in BINARY]


def lines() -> list[tuple[str, str]]:
    """(place, text) of every line of every tracked file."""
    return [
        (f"{path.relative_to(ROOT)}:{number}", line)
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
    ]


def required(specifiers: list[str]) -> set[str]:
    """The names of packages in a list of requirements, spelt as registries do (ruamel.yaml: ruamel-yaml)."""
    return {re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", one)[0]).lower() for one in specifiers}


def declared() -> set[str]:
    project = PROJECT["project"]
    optional = project["optional-dependencies"].values()
    lists = [project["dependencies"], *optional, *PROJECT["dependency-groups"].values()]
    return set().union(*(required(one) for one in lists))


@pytest.mark.parametrize(
    "name", ["pyproject.toml", "domain", "projections", "api", "tests", "docker-compose.yml"]
)
def test_the_fixed_top_level_exists(name: str) -> None:
    """S217."""
    assert (ROOT / name).exists()


def test_the_packages_of_the_brief_are_declared() -> None:
    """S216."""
    named = {"eventsourcing", "psycopg", "pydantic", "fastapi", "uvicorn"}
    assert named <= required(PROJECT["project"]["dependencies"])


def test_every_dependency_has_its_reason_and_no_reason_outlives_its_dependency() -> None:
    record = (ROOT / "docs/decisions/0002-dependencies.md").read_text()
    reasons = re.findall(r"^\| ([\w.-]+) \| \S", record, flags=re.MULTILINE)
    assert required(reasons) - {"package"} == declared()
    assert len(reasons) == len(set(reasons)) + 1, "two tables, so two headings, and no package twice"


@pytest.mark.parametrize("name", ["runtime", "dev"])
def test_what_is_installed_is_pinned_by_hash_and_names_no_address(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    pinned = re.findall(r"^([\w.-]+)==[^\s\\]+ .*\\$", text, flags=re.MULTILINE)
    wanted = declared() if name == "dev" else required(PROJECT["project"]["dependencies"])
    assert wanted <= set(pinned)
    assert text.count("--hash=sha256:") >= len(pinned)
    assert "://" not in text


def test_no_tracked_file_names_a_registry() -> None:
    assert [place for place, line in lines() if any(host in line for host in REGISTRIES)] == []


def test_no_tracked_file_names_a_folder_of_somebodys_machine() -> None:
    assert [place for place, line in lines() if MACHINES.search(line) or f"{ROOT}/" in line] == []


def test_the_tools_know_every_package_and_every_package_is_known() -> None:
    tools = PROJECT["tool"]
    assert sorted(tools["importlinter"]["root_packages"]) == PACKAGES
    assert sorted(tools["mypy"]["files"]) == PACKAGES
    assert sorted(tools["ruff"]["lint"]["isort"]["known-first-party"]) == PACKAGES


def test_the_wheel_publishes_tenuto_alone_with_the_server_inside(tmp_path: Path) -> None:
    """`domain` or `api` at top level would overwrite another project's packages without a word."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"tenuto"}
    assert {f"tenuto/_server/{package}/__init__.py" for package in SERVER} <= set(names)
    assert "tenuto/_server/examples/order/order.yaml" in names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tenuto/_server/tests")]


def too_long() -> dict[str, int]:
    """Place → lines, of every file and function above its limit."""
    found = {}
    for path in tracked():
        if path.suffix != ".py":
            continue
        place = str(path.relative_to(ROOT))
        text = path.read_text()
        limit = LONGEST_TEST_FILE if place.startswith("tests/") else LONGEST_FILE
        if (count := text.count("\n")) > limit:
            found[place] = count
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > LONGEST_FUNCTION:
                    found[f"{place}:{node.name}"] = count
    return found


def test_nothing_grows_too_long_without_a_reason() -> None:
    found = too_long()
    assert {place: count for place, count in found.items() if place not in LONGER} == {}
    assert [place for place in LONGER if place not in found] == [], "no longer needed in LONGER"
