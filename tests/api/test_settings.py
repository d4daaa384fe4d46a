"""Settings: from the environment and from tenuto.toml, documented, and refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from api.settings import PREFIX, Settings, services_in
from connectors.http import setting_of

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"{PREFIX}{name.upper()}", raising=False)
    return tmp_path


def test_every_setting_is_documented_with_its_default() -> None:
    rows = {
        line.split("|")[1].strip(): line for line in PAGE.read_text().splitlines() if line.startswith("| `")
    }
    named = {f"`{PREFIX}{name.upper()}`" for name in Settings.model_fields} - {"`TENUTO_SERVICES`"}
    assert set(rows) == named | {"`TENUTO_SERVICE_<NAME>_URL`"}
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if name not in ("services", "home", "database_url", "checkpoints", "signing_key"):
            assert f"| `{name}` | `{field.default}` |" in rows[f"`{PREFIX}{name.upper()}`"]


def test_the_environment_goes_before_the_file(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nowhere / "tenuto.toml").write_text("port = 1\nlease_seconds = 9\n")
    monkeypatch.setenv("TENUTO_PORT", "2")
    assert (Settings().port, Settings().lease_seconds) == (2, 9)


def test_services_come_from_both(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (nowhere / "tenuto.toml").write_text(
        '[services.payments]\nurl = "http://file"\n[services.shipping]\nurl = "http://file"\n'
    )
    monkeypatch.setenv("TENUTO_SERVICE_PAYMENTS_URL", "http://variable")
    monkeypatch.setenv("TENUTO_SERVICE_FRAUD__CHECK_URL", "http://variable")
    assert Settings().service_urls == {
        "payments": "http://variable",
        "shipping": "http://file",
        "fraud-check": "http://variable",
    }


@pytest.mark.parametrize(
    "service", ["payments", "fraud-check", "fraud_check", "a-b_c", "2go", "Desk", "a.b", "a__b"]
)
def test_the_setting_that_an_error_names_is_the_one_that_is_read(nowhere: Path, service: str) -> None:
    variable = re.match(r"TENUTO_\w+", setting_of(service))
    if variable is not None:
        assert services_in({variable[0]: "http://x"}) == {service: {"url": "http://x"}}
    table = re.search(r"\[services\..*\]", setting_of(service))
    assert table is not None
    (nowhere / "tenuto.toml").write_text(f'{table[0]}\nurl = "http://x"\n')
    assert Settings().service_urls == {service: "http://x"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("prot = 1\n", "prot"),
        ("lease_seconds = 0\n", "lease_seconds"),
        ('[services.payments]\nurl = "ftp://x"\n', "services"),
        ('[services.payments]\nuri = "http://x"\n', "services"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(nowhere: Path, text: str, place: str) -> None:
    (nowhere / "tenuto.toml").write_text(text)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert refused.value.errors()[0]["loc"][0] == place
