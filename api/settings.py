"""What can be set, by environment or by `tenuto.toml` in the working folder (docs/reference/settings.md).

An argument of the command line goes first, then the environment, then the file. Limits are no settings: they are named
constants (`domain/limits.py`), because raising one is a decision. Refuses to know what is done with the values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

PREFIX = "TENUTO_"
FILE = "tenuto.toml"
_SERVICE = re.compile(rf"{PREFIX}SERVICE_(?P<name>[A-Z0-9_]+)_URL")


class Service(BaseModel):
    """A service that `http:<name>/…` actions call."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(pattern=r"^https?://", description="The service's base URL.")]


class Pool(BaseModel):
    """Workers of one queue, as a scaler sees them: `GET /v1/queues` says how many instances they should be."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)

    queue: str
    min_instances: Annotated[int, Field(ge=0)] = 1
    max_instances: Annotated[int, Field(ge=1)] = 10
    scale_metric: Literal["queue_depth", "queue_latency_p99"] = "queue_depth"
    scale_threshold: Annotated[float, Field(gt=0)] = 100

    @model_validator(mode="after")
    def _ordered(self) -> Pool:
        if self.min_instances > self.max_instances:
            raise ValueError("minInstances is more than maxInstances")
        return self


class Settings(BaseSettings):
    """Read it with `Settings()`. Raises pydantic's ValidationError, which names the setting."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, toml_file=FILE, extra="forbid"
    )

    database_url: Annotated[
        str | None,
        Field(
            description="The PostgreSQL to use (several hosts for HA). Without it, Tenuto starts one of its own."
        ),
    ] = None
    host: Annotated[str, Field(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="The port to listen on; 0 takes a free one.")] = (
        8080
    )
    home: Annotated[
        Path | None,
        Field(description="Where the embedded PostgreSQL keeps its data. By default `.tenuto` here."),
    ] = None
    lease_seconds: Annotated[
        float,
        Field(ge=0.5, le=3600, description="A worker not heard of for so long loses its tasks to others."),
    ] = 5.0
    checkpoints: Annotated[
        Path | None,
        Field(
            description="The folder that signed checkpoints are exported to; out of the database's reach. By default "
            "`checkpoints` in the home."
        ),
    ] = None
    signing_key: Annotated[
        Path | None,
        Field(
            description="The file of the Ed25519 key that signs them, made when absent. By default `signing.key` in "
            "the home."
        ),
    ] = None
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="What is logged, on stderr.")
    ] = "warning"
    services: Annotated[
        dict[str, Service],
        Field(
            description="Base URLs of services: `[services.payments] url = …`, or `TENUTO_SERVICE_PAYMENTS_URL`.",
        ),
    ] = {}
    pools: Annotated[
        dict[str, Pool],
        Field(description="Pools of workers, for a scaler that asks `GET /v1/queues`: `[pools.payments]`."),
    ] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = TomlConfigSettingsSource(settings_cls)
        return init_settings, _ServiceVariables(settings_cls), env_settings, file

    @property
    def service_urls(self) -> dict[str, str]:
        return {name: service.url for name, service in self.services.items()}


class _ServiceVariables(PydanticBaseSettingsSource):
    """`TENUTO_SERVICE_<NAME>_URL`; `_` in a name stands for itself, `__` for a hyphen."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        found = services_in(os.environ) if field_name == "services" else {}
        return found or None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = services_in(os.environ)
        return {"services": found} if found else {}


def services_in(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The services that an environment names."""
    named = {
        match["name"]: url for key, url in environment.items() if url and (match := _SERVICE.fullmatch(key))
    }
    return {name.lower().replace("__", "-"): {"url": url} for name, url in named.items()}
