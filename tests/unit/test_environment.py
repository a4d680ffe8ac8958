"""Bad settings stop the start with one line each, which names the variable and shows no value."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fundus_relay.demonstration.stack import LocalPorts
from fundus_relay.environment import NotConfigured, read
from fundus_relay.settings import Settings
from fundus_relay.standin.settings import StandinSettings

NEEDED = {
    "FUNDUS_RELAY_ANALYSER__BASE_URL": "https://analyser.test/v1",
    "FUNDUS_RELAY_ANALYSER__USERNAME": "user",
    "FUNDUS_RELAY_ANALYSER__PASSWORD": "s3cret",
    "FUNDUS_RELAY_RECORD__BASE_URL": "http://[::1]:8070/fhir",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What is needed and nothing else of ours."""
    for name in os.environ:
        if name.startswith("FUNDUS_RELAY_"):
            monkeypatch.delenv(name)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def wrong(kind: type[Settings | LocalPorts | StandinSettings] = Settings) -> list[str]:
    with pytest.raises(NotConfigured) as why:
        read(kind)
    return str(why.value).splitlines()


def test_what_is_needed_is_enough() -> None:
    assert read(Settings).record.base_url == "http://[::1]:8070/fhir"


def test_everything_that_is_missing_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    for name in NEEDED:
        environment.delenv(name)

    assert wrong() == [f"{name}: is required" for name in NEEDED]


def test_an_archive_without_its_address_is_named_by_the_list_it_is_in(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FUNDUS_RELAY_ACQUISITION__ARCHIVES", '[{"username": "u", "password": "s3cret"}]')

    assert wrong() == ["FUNDUS_RELAY_ACQUISITION__ARCHIVES: each entry needs base_url"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANALYSER__BASE_URL", "analyser.test/v1"),
        ("ANALYSER__BASE_URL", "ftp://analyser.test/v1"),
        ("ANALYSER__BASE_URL", "https:///v1"),
        ("ANALYSER__BASE_URL", "https://user:s3cret@analyser.test/v1"),
        ("ANALYSER__BASE_URL", "https://analyser.test:port/v1"),
        ("RECORD__BASE_URL", "https://ehr.test/fhir?tenant=s3cret"),
        ("RECORD__BASE_URL", "https://ehr.test/fhir\n"),
        ("HTTP__PUBLIC_URL", "//relay.test/fhir"),
        ("HTTP__HOST", ""),
        ("HTTP__PORT", "65536"),
        ("HTTP__PORT", "-1"),
        ("HTTP__PORT", "http"),
        ("BLOBS__URL", "ftp://s3cret/blobs"),
        ("DATABASE__URL", "mysql://user:s3cret@db.test/relay"),
        ("DATABASE__URL", "postgresql://user:s3cret@more@db.test/relay"),  # each may lead to another host by its middle
        ("DATABASE__URL", "postgresql://user:s3cret/more@db.test/relay"),
        ("DATABASE__URL", "postgresql://user:12/s3cret@db.test/relay"),
        ("DATABASE__URL", "postgresql://user:more@s3cret:more@db.test/relay"),
        ("DATABASE__URL", "postgresql://user:more@s3cret?more@db.test/relay"),
        ("DATABASE__URL", "postgresql://user:more?more@s3cret@db.test/relay"),
        ("DATABASE__URL", "postgresql://db.test?user=relay&password=more@s3cret"),
        ("DATABASE__URL", "postgresql://db.test:5432?password=more@s3cret"),
        ("DATABASE__URL", "postgresql://user:s3cret%@db.test/relay"),
        ("DATABASE__URL", "postgresql://user:s3cret@db.test:http/relay"),
        ("DATABASE__URL", "postgresql://user:s3cret@db.test/relay?no-such=option"),
        ("DATABASE__POOL_SIZE", "3"),
        ("INTAKE__MAX_PIXELS", "0"),
        ("INTAKE__IMAGE_SOURCES", "https://one.test,https://other.test"),
        ("INTAKE__IMAGE_SOURCES", '{"one": "https://one.test"}'),
        ("INTAKE__IMAGE_SOURCES", '["https://one.test", "other.test"]'),
        ("INTAKE__PRIVATE_NETWORKS", '["10.0.0.0/99"]'),
        ("ANALYSER__USERNAME", " "),
        ("ANALYSER__PASSWORD", ""),
        ("ANALYSER__PASSWORD", "s3cret\n"),
        ("ANALYSER__CONCURRENCY", "0"),
        ("ANALYSER__POLL_INTERVAL", "0"),
        ("ANALYSER__POLL_INTERVAL", "-5"),
        ("ANALYSER__POLL_INTERVAL", "inf"),
        ("ANALYSER__POLL_INTERVAL", "1e11"),
        ("ANALYSER__POLL_INTERVAL", "soon"),
        ("ANALYSER__AMBIGUOUS_UPLOAD", "perhaps"),
        ("RECORD__BEARER_TOKEN", ""),
        ("RECORD__BEARER_TOKEN", "s3cret token"),
        ("TRACES__ENDPOINT", "collector:4318"),
        ("TRACES__HEADERS", "s3cret"),
        ("TRACES__HEADERS", "authorization=s3cret,"),
        ("TRACES__HEADERS", "authorization=s3cret%0A"),
        ("TRACES__HEADERS", "author ization=s3cret"),
        ("TRACES__SAMPLING_RATIO", "1.5"),
        ("TRACES__SAMPLING_RATIO", "-1"),
        ("TRACES__SAMPLING_RATIO", "nan"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_value_is_one_line_that_does_not_show_it(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(f"FUNDUS_RELAY_{name}", value)

    (line,) = wrong()

    assert line.startswith(f"FUNDUS_RELAY_{name}: ")
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        (Settings, "FUNDUS_RELAY_RECORD__BASEURL", "FUNDUS_RELAY_RECORD__BASE_URL"),
        (Settings, "FUNDUS_RELAY_HTTP_PORT", "FUNDUS_RELAY_HTTP__PORT"),
        (Settings, "fundus_relay_loglevel", "FUNDUS_RELAY_LOG_LEVEL"),
        (LocalPorts, "FUNDUS_RELAY_LOCAL__SERVICEPORT", "FUNDUS_RELAY_LOCAL__SERVICE_PORT"),
        (StandinSettings, "FUNDUS_RELAY_STANDIN__CREDIT", "FUNDUS_RELAY_STANDIN__CREDITS"),
    ],
)
def test_a_mistyped_name_is_told_with_what_was_meant(
    environment: pytest.MonkeyPatch, kind: type[Settings], name: str, meant: str
) -> None:
    environment.setenv(name, "s3cret")

    assert wrong(kind) == [f"{name}: is no setting; is {meant} meant?"]


@pytest.mark.parametrize("name", ["FUNDUS_RELAY_HTTP", "FUNDUS_RELAY_COLOUR"])
def test_a_name_like_no_other_is_told_too(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, "s3cret")

    (line,) = wrong()

    assert line.startswith(f"{name}: is no setting; ")


def test_lists_are_json(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FUNDUS_RELAY_INTAKE__IMAGE_SOURCES", '["https://one.test/", "https://other.test/"]')
    environment.setenv("FUNDUS_RELAY_INTAKE__PRIVATE_NETWORKS", '["10.1.0.0/16", "fd00::/8"]')

    intake = read(Settings).intake

    assert intake.image_sources == ("https://one.test/", "https://other.test/")
    assert [str(each) for each in intake.private_networks] == ["10.1.0.0/16", "fd00::/8"]


def test_what_kubernetes_makes_of_services_is_passed_over(environment: pytest.MonkeyPatch) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR"):
        environment.setenv(f"FUNDUS_RELAY_{name}", "tcp://10.0.0.7:8080")
        environment.setenv(f"FUNDUS_RELAY_API_{name}", "tcp://10.0.0.8:8080")

    assert read(Settings)


def test_the_settings_of_other_programs_are_theirs(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FUNDUS_RELAY_STANDIN__CREDITS", "7")
    environment.setenv("FUNDUS_RELAY_LOCAL__EHR_PORT", "8071")

    assert read(Settings)
    assert (read(StandinSettings).credits, read(LocalPorts).ehr_port) == (7, 8071)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret%40%2Fmore@db.test:5432,other.test:5433/relay?sslmode=verify-full",
        "postgresql://user:s3cret?more#:@[2001:db8::1]/relay",
        "postgresql://db.test/relay?user=relay&password=s3cret@more",
        "postgresql://user%40server@/relay?host=%2Fvar%2Frun&application_name=a@b",
        "postgres://db.test",
    ],
)
def test_an_url_of_a_database_that_reads_one_way_only_is_taken(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("FUNDUS_RELAY_DATABASE__URL", url)

    found = read(Settings).database.url

    assert found is not None and found.get_secret_value() == url


@pytest.mark.parametrize("command", ["serve", "migrate", "parked"])
def test_a_command_that_is_not_configured_ends_without_a_traceback(command: str) -> None:
    environment = {**os.environ, "FUNDUS_RELAY_ANALYSER__BASE_URL": "s3cret", "FUNDUS_RELAY_HTTP": "s3cret"}

    done = subprocess.run(
        [sys.executable, "-m", "fundus_relay", command], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr.startswith("fundus-relay: FUNDUS_RELAY_HTTP: is no setting")
    assert "Traceback" not in done.stderr and "s3cret" not in done.stderr


@pytest.mark.parametrize("port", ["65536", "-1", "http", "٣"])
def test_a_port_that_is_none_is_a_wrong_call(port: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fundus_relay", "ehr", f"--port={port}"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, "from 0 to 65535" in done.stderr) == (2, True)


def test_a_file_of_tokens_and_everybody_let_in_is_a_contradiction(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FUNDUS_RELAY_ACCESS__TOKENS", "/etc/relay/tokens")
    environment.setenv("FUNDUS_RELAY_ACCESS__OPEN", "true")

    (line,) = wrong()

    assert line.startswith("FUNDUS_RELAY_ACCESS__OPEN: ")


def test_pages_that_would_be_kept_longer_than_all_else_are_a_contradiction(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FUNDUS_RELAY_RETENTION__LEDGER_YEARS", "10")
    environment.setenv("FUNDUS_RELAY_RETENTION__PAGES_DAYS", "3660")

    assert read(Settings).retention.pages_days == 3660

    environment.setenv("FUNDUS_RELAY_RETENTION__PAGES_DAYS", "3661")

    (line,) = wrong()
    assert line.startswith("FUNDUS_RELAY_RETENTION__LEDGER_YEARS: ")
