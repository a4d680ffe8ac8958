"""All settings, one frozen tree, read from the environment once, at start.

Prefix `FUNDUS_RELAY_`, levels joined by two underscores: `FUNDUS_RELAY_ANALYSER__BASE_URL`. No address or secret of
another party has a default; no `repr` shows a secret, and no message about a wrong setting shows its value.
"""

from __future__ import annotations

import json
import re
import ssl
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from fundus_relay.domain.dicom import PHOTOGRAPHS
from fundus_relay.domain.policy import AmbiguousUpload, Carriage, Kept, Precheck

LONGEST_DURATION = timedelta(days=366)

DAYS_OF_A_YEAR = 366
"""No year is longer, so that nothing is kept shorter than was said."""


def _seconds(value: object) -> object:
    """`90` as well as `PT90S` and `00:01:30`."""
    try:
        return timedelta(seconds=float(value)) if isinstance(value, str) else value
    except (ValueError, OverflowError):
        return value


def _positive(value: timedelta) -> timedelta:
    if not timedelta(0) < value <= LONGEST_DURATION:
        raise ValueError("must be longer than 0 and no longer than a year; a plain number means seconds")
    return value


def _filled(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _secret(value: SecretStr) -> SecretStr:
    """A line break at the end of a mounted file is the usual mistake; it would be told as a refused account."""
    told = value.get_secret_value()
    if not told or told != told.strip():
        raise ValueError("must not be empty, nor begin or end with white space or a line break")
    return value


def _token(value: SecretStr) -> SecretStr:
    if not all("!" <= character <= "~" for character in value.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces")
    return value


def _headers(value: SecretStr) -> SecretStr:
    for name, told in _headers_of(value.get_secret_value()).items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not re.fullmatch(r"[!-~](?:[ -~]*[!-~])?", told):
            raise ValueError("must be like name=value,other=value, with %20 for a space")
    return value


def _headers_of(text: str) -> dict[str, str]:
    """Source: OpenTelemetry 1.45, protocol exporter, `OTEL_EXPORTER_OTLP_HEADERS`: as W3C Baggage."""
    pairs = [each.partition("=") for each in text.split(",")]
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}


def _http_url(value: str) -> str:
    if not _is_http_url(value):
        raise ValueError("must be a URL like https://host/path: http or https, no user, no query")
    return value


def _is_http_url(value: str) -> bool:
    try:
        url = urlsplit(value)
        is_plain = url.port != 0 and not url.query and not url.fragment and "@" not in url.netloc
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.hostname) and is_plain and value == "".join(value.split())


def _blob_url(value: str) -> str:
    if not value or ("://" in value and urlsplit(value).scheme not in {"s3", "gs", "az"}):
        raise ValueError("must begin with s3://, gs:// or az://, or be a directory")
    return value


def _network(value: object) -> object:
    try:
        return ip_network(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("must hold networks such as 10.0.0.0/8, with no bit of a host set") from None


def _json_list(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        items = json.loads(value)
    except ValueError:
        items = None
    if isinstance(items, list):
        return items
    raise ValueError('must be a JSON list, such as ["one", "other"]')


Duration = Annotated[timedelta, BeforeValidator(_seconds), AfterValidator(_positive)]
Age = Annotated[int, Field(ge=1, le=36_500)]
Port = Annotated[int, Field(ge=0, le=65535)]
Text = Annotated[str, AfterValidator(_filled)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
Token = Annotated[Secret, AfterValidator(_token)]
HttpUrls = Annotated[tuple[HttpUrl, ...], NoDecode, BeforeValidator(_json_list)]
Words = Annotated[tuple[Text, ...], NoDecode, BeforeValidator(_json_list)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_json_list)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Http(_Part):
    host: Text = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(8080, description="port to listen on; 0 takes a free one")
    public_url: HttpUrl | None = Field(
        None, description="base of the FHIR endpoint as callers see it; by default from the request's Host"
    )
    silence: Duration = Field(
        timedelta(seconds=30),
        ge=timedelta(seconds=1),
        description="that a caller may rest in the middle of a request or of its answer, or between two",
    )
    max_connections: int = Field(
        512, ge=8, description="connections at once, those of probes among them; one more gets a 503"
    )


class Access(_Part):
    """Who may call; see `adapters.callers` for the file."""

    tokens: Path | None = Field(
        None, description="file of the bearer tokens that are let in; a change is seen within a second or so"
    )
    open: bool = Field(
        False, description="`true` lets everybody in, on any address: only behind a gateway that knows its callers"
    )

    @field_validator("open")
    @classmethod
    def _is_alone(cls, is_open: bool, others: ValidationInfo) -> bool:
        if is_open and others.data.get("tokens") is not None:
            raise ValueError("must not be true beside a file of tokens: are all let in, or those?")
        return is_open


class Probes(_Part):
    host: Text = Field(
        "127.0.0.1", description="address for `/livez`, `/readyz` and `/metrics`, which ask for no token"
    )
    port: Port = Field(8081, description="port for them; 0 takes a free one, which the log names at the start")


class Traces(_Part):
    """OpenTelemetry; see `adapters.traces`."""

    endpoint: HttpUrl | None = Field(
        None,
        description="collector of traces that takes OTLP over HTTP, such as `http://collector:4318`; `/v1/traces` is"
        " put behind it. Without it nothing is traced",
    )
    headers: Annotated[Secret, AfterValidator(_headers)] | None = Field(
        None, description="for it, as OpenTelemetry writes them: `authorization=Bearer%20…,x-tenant=eyes`"
    )
    sampling_ratio: float = Field(
        1.0, ge=0, le=1, description="share of requests that are traced, whatever their callers' own traces say"
    )

    @property
    def stated_headers(self) -> dict[str, str]:
        """By name."""
        return _headers_of(self.headers.get_secret_value()) if self.headers is not None else {}


def _is_plain(url: str) -> bool:
    """Whether a database's URL reads one way only: a bare `@` or `/` of a password makes another host of it."""
    from psycopg.conninfo import conninfo_to_dict

    address = url.partition("://")[2]
    user, at, _ = address.partition("?")[0].rpartition("@")
    userinfo = address.partition("/")[0].rpartition("@")[0]  # as the driver reads it, who looks for `@` before `?`
    try:
        port = str(conninfo_to_dict(url).get("port", ""))
    except Exception:  # whatever the driver says of it may quote it
        return False
    is_one_user = "@" not in user + userinfo and not (at and "/" in user) and "=" not in userinfo.partition("?")[2]
    return is_one_user and all(each.isdigit() for each in port.split(",") if each)


class Database(_Part):
    url: SecretStr | None = Field(None, description="PostgreSQL; without it an embedded server is started")
    pool_size: int = Field(10, ge=4, description="connections at most")

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: SecretStr | None) -> SecretStr | None:
        """A mistyped one ends here, unseen, and not in a driver's error that quotes its password."""
        if url is not None and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        if url is not None and not _is_plain(url.get_secret_value()):
            raise ValueError(
                "cannot be read: in user and password, @ : / ? # and % are written %40 %3A %2F %3F %23 and %25"
            )
        return url


class BlobStore(_Part):
    url: Annotated[str, AfterValidator(_blob_url)] | None = Field(
        None, description="s3://, gs://, az:// or a directory; by default `blobs` in the data directory"
    )


class Intake(_Part):
    max_picture_bytes: int = Field(50_000_000, ge=1, description="largest photograph taken, decoded")
    max_pixels: int = Field(100_000_000, ge=1, description="largest photograph taken, columns × rows")
    max_body_bytes: int = Field(300_000_000, ge=1, description="largest request body, unzipped")
    image_sources: HttpUrls = Field((), description="base URLs that `Media.content.url` may point under")
    private_networks: Networks = Field(
        (), description="private networks in which those sources may lie; link-local never"
    )
    backfill_after: Duration | None = Field(
        None, description="photographs that were taken longer ago are backfill; without it those that are tagged so"
    )


class NetraAccount(_Part):
    base_url: HttpUrl = Field(description="of the analyser's API, up to and including /v1")
    username: Text = Field(description="of the account")
    password: Secret = Field(description="of the account")
    poll_interval: Duration = Field(timedelta(seconds=90), description="between two questions for one image")
    give_up_after: Duration = Field(timedelta(minutes=30), description="then the image is parked, not lost")
    concurrency: int = Field(4, ge=1, description="calls to the analyser at once, over all processes")
    calls_per_minute: int | None = Field(
        None,
        ge=1,
        description="calls to the analyser at most, over all processes and evenly spaced; without it any number",
    )
    connect_timeout: Duration = Field(timedelta(seconds=5), description="to open a connection")
    answer_timeout: Duration = Field(timedelta(seconds=60), description="for an answer after the request was sent")
    credits_floor: int = Field(0, ge=0, description="credits that are kept for urgent photographs")
    backfill_floor: int = Field(
        0, ge=0, description="credits that are kept for urgent and routine photographs; the larger floor counts"
    )
    ambiguous_upload: AmbiguousUpload = Field(
        AmbiguousUpload.RESEND,
        description="of an upload whose answer was lost: `resend` if it was surely not paid, else a person decides;"
        " `resend-once` once even if it may have been; `hold` never",
    )
    precheck: Precheck = Field(
        Precheck.ADVISE,
        description="a quick look for what is no fundus, too dark, too bright or out of focus: `advise` tells it in the"
        " Task and sends the picture all the same; with `hold` a person decides first; `off` does not look",
    )

    @property
    def gap(self) -> timedelta | None:
        """Between the beginnings of two calls."""
        return timedelta(minutes=1) / self.calls_per_minute if self.calls_per_minute else None


class Destination(_Part):
    name: Text = Field("ehr", description="short name in logs and rows")
    base_url: HttpUrl = Field(description="of the EHR's FHIR R4 endpoint that gets the reports")
    aliases: HttpUrls = Field((), description="other base URLs by which senders refer to that endpoint")
    bearer_token: Token | None = Field(None, description="sent as Authorization, when set")
    timeout: Duration = Field(timedelta(seconds=30), description="for one answer")
    retry_horizon: Duration = Field(timedelta(hours=72), description="of trying to deliver, before parking")
    organization: Text = Field("Fundus Relay", description="name shown as the report's performer")
    ai_label: bool = Field(True, description="send the code AIAST; `false` for an EHR that refuses codes unknown to it")
    profiles: bool = Field(
        True, description="send `meta.profile`; `false` for an EHR that refuses profiles unknown to it"
    )
    pdf: Carriage = Field(
        Carriage.INLINE,
        description="how the report's PDF goes along: `inline`; `binary`, beside the report; `link` to our endpoint;"
        " `none` is made. One over 750 kB is linked to",
    )
    overlays: Carriage = Field(
        Carriage.LINK,
        description="the same of the photographs with boxes drawn, each a Media; over 8 MB in a report, the rest is"
        " linked to",
    )


class Archive(_Part):
    """An archive of studies; who we are to it: nobody, a user, the bearer of a token, or an OAuth 2 client."""

    base_url: HttpUrl = Field(description="of its DICOMweb service")
    username: Text | None = None
    password: Secret | None = None
    bearer_token: Token | None = None
    token_url: HttpUrl | None = None
    client_id: Text | None = None
    client_secret: Secret | None = None
    scope: Text | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    certificate_authority: Path | None = None
    timeout: Duration = timedelta(seconds=300)

    @model_validator(mode="after")
    def _is_one_of_us(self) -> Archive:
        """One manner of credentials, and all of it."""
        manners = (
            (self.username, self.password),
            (self.bearer_token,),
            (self.token_url, self.client_id, self.client_secret),
        )
        begun = [parts for parts in manners if any(part is not None for part in parts)]
        if len(begun) > 1 or any(part is None for parts in begun for part in parts):
            raise ValueError(
                "needs username and password, or bearer_token, or token_url, client_id and client_secret, or none"
            )
        if (self.client_certificate is None) != (self.client_key is None):
            raise ValueError("needs client_certificate and client_key together")
        return self

    @model_validator(mode="after")
    def _has_its_files(self) -> Archive:
        """What cannot be read stops the start, and not the first study; nobody is there to type a passphrase."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self.certificate_authority is not None:
                context.load_verify_locations(self.certificate_authority)
        except OSError:
            raise ValueError("certificate_authority must be a file of certificates in PEM") from None
        try:
            if self.client_certificate is not None:
                # the empty passphrase: else OpenSSL asks for one at the terminal
                context.load_cert_chain(self.client_certificate, self.client_key, password="")
        except (OSError, ValueError):
            raise ValueError("client_certificate and client_key must be a pair in PEM, without passphrase") from None
        return self


Archives = Annotated[tuple[Archive, ...], NoDecode, BeforeValidator(_json_list)]


class Acquisition(_Part):
    archives: Archives = Field(
        (),
        description="JSON list of DICOMweb archives that may be asked, each with `base_url` and, as needed, `username`"
        " and `password`, `bearer_token`, or `token_url`, `client_id`, `client_secret` and `scope` (OAuth 2);"
        " `client_certificate`, `client_key`, `certificate_authority` (files); `timeout`. The first is asked for"
        " studies that name no Endpoint",
    )
    modalities: Words = Field(("OP",), description="modalities of photographs")
    other_modalities: Words = Field(
        ("XC", "OT", "SC"), description="modalities that are taken when a study has none of those"
    )
    sop_classes: Words = Field(tuple(sorted(PHOTOGRAPHS)), description="SOP classes that are taken at all")
    max_instance_bytes: int = Field(200_000_000, ge=1, description="largest DICOM file taken")
    wait_for_late: Duration = Field(
        timedelta(minutes=10),
        description="that a report waits for photographs which the archive should have and has not",
    )
    horizon: Duration = Field(timedelta(hours=72), description="of trying to fetch a study, before parking")


class Retention(_Part):
    """How old things get after their study's last change; without a number they are kept for ever."""

    source_pictures_days: Age | None = Field(
        None,
        description="days after its study's last change that a photograph is kept as it was sent",
    )
    prepared_pictures_days: Age | None = Field(
        None, description="the same of what was made of it for the analyser, of which drawings are made"
    )
    pages_days: Age | None = Field(
        None, description="the same of PDFs and of photographs with boxes drawn; links to them lead nowhere then"
    )
    ledger_years: Annotated[int, Field(ge=1, le=200)] | None = Field(
        None, description="years after its last change that a study is known at all; then everything of it goes"
    )

    @property
    def ages(self) -> dict[Kept, timedelta]:
        """What is purged, and at which age."""
        days = {
            Kept.SOURCE: self.source_pictures_days,
            Kept.PREPARED: self.prepared_pictures_days,
            Kept.PAGES: self.pages_days,
            Kept.LEDGER: DAYS_OF_A_YEAR * self.ledger_years if self.ledger_years else None,
        }
        return {kept: timedelta(days=number) for kept, number in days.items() if number}

    @field_validator("ledger_years")
    @classmethod
    def _is_longest(cls, years: int | None, others: ValidationInfo) -> int | None:
        if years is not None and any((days or 0) > DAYS_OF_A_YEAR * years for days in others.data.values()):
            raise ValueError("must not be less than the days of pictures and pages: everything goes then")
        return years


_READ = SettingsConfigDict(
    env_prefix="FUNDUS_RELAY_", env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
)
_DATA_DIR = Field(Path("var"), description="embedded database and blobs")


class Storage(BaseSettings):
    """The part of the settings that an operator's command needs; the others may be there."""

    model_config = _READ | SettingsConfigDict(extra="ignore")

    data_dir: Path = _DATA_DIR
    database: Database = Database()
    blobs: BlobStore = BlobStore()


class Settings(BaseSettings):
    model_config = _READ

    http: Http = Http()
    access: Access = Access()
    probes: Probes = Probes()
    data_dir: Path = _DATA_DIR
    database: Database = Database()
    blobs: BlobStore = BlobStore()
    intake: Intake = Intake()
    acquisition: Acquisition = Acquisition()
    analyser: NetraAccount
    record: Destination
    traces: Traces = Traces()
    retention: Retention = Retention()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
