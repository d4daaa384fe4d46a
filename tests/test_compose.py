"""`docker-compose.yml` fits the project. There is no container engine here: it is parsed, not run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.settings import Settings

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PORTS = {"tenuto": 8080, "payments": 8001, "inventory": 8002, "shipping": 8003}
PYTHON = [name for name in SERVICES if name != "postgres"]


def environment(service: str) -> dict[str, str]:
    values: dict[str, str] = SERVICES[service].get("environment", {})
    return values


def following(service: str, option: str) -> str:
    """The word after `option` in the service's command."""
    command: list[str] = SERVICES[service]["command"]
    return command[command.index(option) + 1]


def test_it_holds_the_database_the_server_the_example_services_and_the_worker() -> None:
    assert set(SERVICES) == {"postgres", "tenuto", "payments", "inventory", "shipping", "notifications"}
    assert SERVICES["postgres"]["image"] == "postgres:18"
    assert SERVICES["tenuto"]["command"][:2] == ["tenuto", "serve"]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_says_when_it_is_healthy(service: str) -> None:
    check = SERVICES[service]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert check["retries"] > 0
    assert {"interval", "timeout", "start_period"} <= set(check)


@pytest.mark.parametrize("service", PORTS)
def test_a_service_listens_on_its_port_where_others_can_reach_it(service: str) -> None:
    assert following(service, "--host") == "0.0.0.0"  # noqa: S104 - inside its container
    assert following(service, "--port") == str(PORTS[service])
    assert f"127.0.0.1:{PORTS[service]}/" in SERVICES[service]["healthcheck"]["test"][-1]


def test_only_the_server_is_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"tenuto": ["127.0.0.1:8080:8080"]}


def test_who_needs_whom_waits_until_it_is_healthy() -> None:
    waits = {
        (name, needed): how["condition"]
        for name, service in SERVICES.items()
        for needed, how in service.get("depends_on", {}).items()
    }
    assert waits == {
        ("tenuto", "postgres"): "service_healthy",
        ("notifications", "tenuto"): "service_healthy",
    }


@pytest.mark.parametrize("service", SERVICES)
def test_every_variable_is_one_that_somebody_reads(service: str) -> None:
    prefix = Settings.model_config["env_prefix"]
    settings = {f"{prefix}{field}".upper() for field in Settings.model_fields}
    assert "TENUTO_DATABASE_URL" in settings
    for name in environment(service):
        known = name in settings or re.fullmatch(r"TENUTO_SERVICE_[A-Z]+_URL", name)
        assert known or (service == "postgres" and name.startswith("POSTGRES_")), name


def test_the_server_finds_the_database_and_the_services_by_their_names_and_ports() -> None:
    server = environment("tenuto")
    database = environment("postgres")
    assert server["TENUTO_DATABASE_URL"] == (
        f"postgresql://{database['POSTGRES_USER']}:{database['POSTGRES_PASSWORD']}"
        f"@postgres:5432/{database['POSTGRES_DB']}"
    )
    urls = {name: url for name, url in server.items() if name.startswith("TENUTO_SERVICE_")}
    assert urls == {
        f"TENUTO_SERVICE_{name.upper()}_URL": f"http://{name}:{port}"
        for name, port in PORTS.items()
        if name != "tenuto"
    }
    assert following("notifications", "--server") == f"http://tenuto:{PORTS['tenuto']}"


@pytest.mark.parametrize("service", [name for name in PYTHON if name != "tenuto"])
def test_the_examples_it_starts_exist_and_keep_their_ledgers_in_volumes(service: str) -> None:
    assert importlib.util.find_spec(following(service, "-m")) is not None
    assert following(service, "--ledger") == f"/data/{service}.sqlite"
    assert SERVICES[service]["volumes"] == [f"{service}:/data"]
    assert service in COMPOSE["volumes"]


@pytest.mark.parametrize("service", PYTHON)
def test_our_services_share_one_image_whose_recipe_exists(service: str) -> None:
    build = SERVICES[service]["build"]
    assert build == SERVICES["tenuto"]["build"]
    recipe = (ROOT / build["context"] / build["dockerfile"]).read_text()
    copied = re.findall(r"^COPY (?!--from)(\S+)", recipe, flags=re.MULTILINE)
    assert copied
    assert all((ROOT / source).exists() for source in copied)
    assert "--require-hashes -r requirements/runtime.txt" in recipe
    assert re.search(r"^USER tenuto$", recipe, flags=re.MULTILINE)
