"""All settings, one frozen tree, read from the environment once, at start.

Prefix `FUNDUS_RELAY_`, levels joined by two underscores: `FUNDUS_RELAY_ANALYSER__BASE_URL`. No address or secret of
another party has a default; no `repr` shows a secret.
"""

from __future__ import annotations

import os
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fundus_relay.domain.policy import AmbiguousUpload


def _seconds(value: object) -> object:
    """`90` as well as `PT90S` and `00:01:30`."""
    try:
        return timedelta(seconds=float(value)) if isinstance(value, str) else value
    except ValueError:
        return value


Duration = Annotated[timedelta, BeforeValidator(_seconds)]


class UnknownSetting(Exception):
    """A variable with our prefix that no setting is called: most likely mistyped."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Http(_Part):
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, description="port to listen on; 0 takes a free one")
    public_url: str | None = Field(
        None, description="base of the FHIR endpoint as callers see it; by default from the request's Host"
    )
    silence: Duration = Field(
        timedelta(seconds=30),
        ge=timedelta(seconds=1),
        description="that a caller may rest in the middle of a request, or between two",
    )
    max_connections: int = Field(
        512, ge=8, description="connections at once, those of probes among them; one more gets a 503"
    )


class Database(_Part):
    url: SecretStr | None = Field(None, description="PostgreSQL; without it an embedded server is started")
    pool_size: int = Field(10, ge=4, description="connections at most")

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: SecretStr | None) -> SecretStr | None:
        """A mistyped one ends here, unseen, and not in a driver's error that quotes its password."""
        if url is not None and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        return url


class BlobStore(_Part):
    url: str | None = Field(
        None, description="s3://, gs://, az:// or a directory; by default `blobs` in the data directory"
    )


class Intake(_Part):
    max_picture_bytes: int = Field(50_000_000, description="largest photograph taken, decoded")
    max_pixels: int = Field(100_000_000, description="largest photograph taken, columns × rows")
    max_body_bytes: int = Field(300_000_000, description="largest request body, unzipped")
    image_sources: tuple[str, ...] = Field((), description="base URLs that `Media.content.url` may point under")
    private_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="private networks in which those sources may lie; link-local never"
    )


class NetraAccount(_Part):
    base_url: str = Field(description="of the analyser's API, up to and including /v1")
    username: str = Field(description="of the account")
    password: SecretStr = Field(description="of the account")
    poll_interval: Duration = Field(timedelta(seconds=90), description="between two questions for one image")
    give_up_after: Duration = Field(timedelta(minutes=30), description="then the image is parked, not lost")
    concurrency: int = Field(4, description="calls to the analyser at once in one process")
    connect_timeout: Duration = Field(timedelta(seconds=5), description="to open a connection")
    answer_timeout: Duration = Field(timedelta(seconds=60), description="for an answer after the request was sent")
    ambiguous_upload: AmbiguousUpload = Field(AmbiguousUpload.RESEND, description="resend, resend-once or hold")


class Destination(_Part):
    name: str = Field("ehr", description="short name in logs and rows")
    base_url: str = Field(description="of the EHR's FHIR R4 endpoint that gets the reports")
    aliases: tuple[str, ...] = Field((), description="other base URLs by which senders refer to that endpoint")
    bearer_token: SecretStr | None = Field(None, description="sent as Authorization, when set")
    timeout: Duration = Field(timedelta(seconds=30), description="for one answer")
    retry_horizon: Duration = Field(timedelta(hours=72), description="of trying to deliver, before parking")
    organization: str = Field("Fundus Relay", description="name shown as the report's performer")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="FUNDUS_RELAY_", env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    http: Http = Http()
    data_dir: Path = Field(Path("var"), description="embedded database and blobs")
    database: Database = Database()
    blobs: BlobStore = BlobStore()
    intake: Intake = Intake()
    analyser: NetraAccount
    record: Destination
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the settings.

        Raises:
            UnknownSetting: a variable with our prefix is no setting.
            pydantic.ValidationError: a value is missing or does not parse; shows no secret.
        """
        known = {*cls.model_fields, "local", "standin"}
        prefix = "FUNDUS_RELAY_"
        for name in os.environ:
            if name.startswith(prefix) and name.removeprefix(prefix).lower().split("__")[0] not in known:
                raise UnknownSetting(f"{name} is no setting; the README lists all of them")
        return cls()
