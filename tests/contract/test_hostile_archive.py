"""What the client of an archive does when others are at work: thieves of credentials, floods, and TLS that is real."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from time import perf_counter

import pytest
from fastapi import Response
from fastapi.responses import RedirectResponse, StreamingResponse
from pydantic import ValidationError
from tests.contract.archives import NOBODY, SECRET, a_file, in_front_of, name_of
from tests.dicom_files import STUDY
from tests.fakes.archive import DicomwebServer, TokenServer
from tests.flow.world import ManualClock
from tests.serving import served

from fundus_relay.adapters.dicomweb import DicomwebArchive
from fundus_relay.domain.errors import (
    ArchiveCredentialsRefused,
    ArchiveNotAllowed,
    ArchiveRefused,
    ArchiveUnavailable,
    InstanceMismatch,
)
from fundus_relay.settings import Archive

# Whom an Endpoint, or a redirect, may send us to.


@pytest.mark.parametrize(
    "address",
    [
        "https://pacs.test/dicom-web",
        "http://pacs.test:8080/dicom-web",
        "http://relay:hush@pacs.test/dicom-web",
        "http://pacs.test@169.254.169.254/dicom-web",
        "http://pacs.test%00.evil.test/dicom-web",
        "http://pacs.test.evil.test/dicom-web",
        "http://pacs.test\\@evil.test/dicom-web",
        "http://pacs.test/dicom-web/%2e%2e/admin",
        "http://pacs.test/dicom-web/%252e%252e/admin",
        "http://pacs.test/dicom-web/..%2fadmin",
        "http://pacs.test/dicom-web/x/../../admin",
        "http://pacs.test/dicom-web;/../admin",
        "http://pacs.test/dicom-web%3f",
        "http://pacs.test/DICOM-WEB",
        "http://pacs.test//dicom-web",
        "http://[::ffff:169.254.169.254]/dicom-web",
        "http://[::1]/dicom-web",
        "http://2130706433/dicom-web",
        "http://pacs.test/dicom-web\r\nX-Evil: 1",
        "file:///dicom-web",
        "//pacs.test/dicom-web",
        "",
    ],
)
async def test_only_the_listed_archive_itself_is_known(address: str) -> None:
    async with DicomwebArchive([Archive(base_url="http://pacs.test/dicom-web")], ManualClock()) as archive:
        assert not archive.knows(address)
        with pytest.raises(ArchiveNotAllowed):
            await archive.instances(address, STUDY)


@pytest.mark.parametrize("address", ["http://[::1]:8042/dicom-web", "http://[::1]:8042/dicom-web/sub"])
async def test_an_archive_may_have_an_ipv6_address(address: str) -> None:
    async with DicomwebArchive([Archive(base_url="http://[::1]:8042/dicom-web")], ManualClock()) as archive:
        assert archive.knows(address)
        assert not archive.knows(address.replace("::1", "::2"))


@pytest.mark.parametrize(
    "location",
    [
        "https://{host}/dicom-web/x",
        "http://127.0.0.1:1/dicom-web/x",
        "http://relay:hush@{host}/dicom-web/x",
        "//evil.test/dicom-web/x",
        "http://localhost:{port}/x",
        "http://{host}/dicom-web/%2e%2e/x",
        "\\\\evil.test\\x",
        "ftp://{host}/x",
        "",
        "http://[",
    ],
)
async def test_a_redirect_to_any_other_place_is_for_a_person(
    dicomweb: DicomwebServer, address: str, tmp_path: Path, location: str
) -> None:
    host = address.split("/")[2]
    where = location.format(host=host, port=host.partition(":")[2])
    dicomweb.fault = lambda _: Response(status_code=302, headers={"Location": where})

    async with in_front_of(address, tmp_path, bearer_token=SECRET) as setting:
        with pytest.raises((ArchiveRefused, ArchiveUnavailable)) as caught:
            await setting.fetch(NOBODY)

    assert SECRET not in str(caught.value)
    assert {each.url.path.startswith("/dicom-web/") for each in dicomweb.requests} == {True}


# Answers that cost more than they are worth.


def an_entry(number: int, study: str = STUDY) -> dict[str, object]:
    uids = {"0020000D": study, "0020000E": f"{STUDY}.1", "00080018": f"{STUDY}.1.{number}"}
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}


async def test_a_list_that_was_packed_into_almost_nothing_is_read_in_pieces_and_left(
    dicomweb: DicomwebServer, address: str, tmp_path: Path
) -> None:
    one = json.dumps(an_entry(1)).encode()
    packed = gzip.compress(b"[" + b",".join([one] * 100_000) + b"]")
    dicomweb.fault = lambda _: Response(packed, headers={"Content-Encoding": "gzip"})

    async with in_front_of(address, tmp_path) as setting:
        begun = perf_counter()
        with pytest.raises(ArchiveRefused, match="too long"):
            await setting.archive.instances(address, STUDY)
    assert perf_counter() - begun < 5


async def test_a_list_with_instances_of_another_study_is_for_a_person(
    dicomweb: DicomwebServer, address: str, tmp_path: Path
) -> None:
    dicomweb.fault = lambda _: Response(json.dumps([an_entry(1), an_entry(2, study="1.2.9")]))

    async with in_front_of(address, tmp_path) as setting:
        with pytest.raises(InstanceMismatch):
            await setting.archive.instances(address, STUDY)


async def test_an_instance_that_is_listed_twice_is_one(dicomweb: DicomwebServer, address: str, tmp_path: Path) -> None:
    dicomweb.fault = lambda _: Response(json.dumps([an_entry(1), an_entry(2), an_entry(1)]))

    async with in_front_of(address, tmp_path) as setting:
        assert len(await setting.archive.instances(address, STUDY)) == 2


async def test_a_list_that_says_it_is_a_part_is_read_on(dicomweb: DicomwebServer, address: str, tmp_path: Path) -> None:
    pages = iter([[an_entry(1)], [an_entry(2)], []])
    dicomweb.fault = lambda _: Response(json.dumps(next(pages)), 206)

    async with in_front_of(address, tmp_path) as setting:
        assert len(await setting.archive.instances(address, STUDY)) == 2


async def test_an_archive_that_drips_is_left_when_its_time_is_over(
    dicomweb: DicomwebServer, address: str, tmp_path: Path
) -> None:
    async def drops() -> AsyncIterator[bytes]:
        yield a_file()[:200]
        while True:
            await asyncio.sleep(0.01)
            yield b"\0"

    dicomweb.fault = lambda _: StreamingResponse(drops(), media_type="application/dicom")

    async with in_front_of(address, tmp_path, timeout=0.5) as setting:
        with pytest.raises(ArchiveUnavailable, match="slow"):
            await setting.fetch(NOBODY)


# Servers of tokens.


async def test_a_busy_token_server_says_when_to_come_back(
    dicomweb: DicomwebServer, address: str, tmp_path: Path
) -> None:
    tokens = TokenServer(dicomweb, fault=lambda _: Response(status_code=429, headers={"Retry-After": "9"}))
    async with served(tokens.app) as url:
        oauth = {"token_url": f"{url}/token", "client_id": tokens.client[0], "client_secret": tokens.client[1]}
        async with in_front_of(address, tmp_path, **oauth) as setting:
            with pytest.raises(ArchiveUnavailable) as caught:
                await setting.fetch(NOBODY)

    assert caught.value.retry_after == timedelta(seconds=9)


async def test_a_token_server_that_never_answers_takes_no_more_than_the_archives_time(
    dicomweb: DicomwebServer, address: str, tmp_path: Path
) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    tokens = TokenServer(dicomweb, fault=lambda _: StreamingResponse(never()))
    async with served(tokens.app) as url:
        oauth = {"token_url": f"{url}/token", "client_id": "a", "client_secret": SECRET}
        async with in_front_of(address, tmp_path, timeout=0.3, **oauth) as setting:
            with pytest.raises(ArchiveUnavailable):
                await setting.fetch(NOBODY)

    assert dicomweb.requests == []


async def test_neither_secret_nor_token_goes_where_a_token_server_redirects(
    dicomweb: DicomwebServer, address: str, tmp_path: Path
) -> None:
    elsewhere = DicomwebServer()
    async with served(elsewhere.app) as evil:
        tokens = TokenServer(dicomweb, fault=lambda _: RedirectResponse(f"{evil}/token", 307))
        async with served(tokens.app) as url:
            oauth = {"token_url": f"{url}/token", "client_id": "a", "client_secret": SECRET}
            async with in_front_of(address, tmp_path, **oauth) as setting:
                with pytest.raises(ArchiveUnavailable):
                    await setting.fetch(NOBODY)

    assert elsewhere.requests == dicomweb.requests == []


# TLS with certificates on both sides.


class Authority:
    """A house of its own that signs certificates, made by openssl."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl makes the certificates, and is not installed")
        self._folder = folder
        folder.mkdir()
        self.certificate = folder / "authority.crt"
        self._key = folder / "authority.key"
        self._openssl("req", "-x509", *self._new(self._key), "-subj", "/CN=A house", "-out", str(self.certificate))

    def signs(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of `name`."""
        certificate, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        asked, names = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        names.write_text(f"subjectAltName=DNS:{name}")
        self._openssl("req", *self._new(key), "-subj", f"/CN={name}", "-out", str(asked))
        signer = ["-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial", "-days", "1"]
        self._openssl("x509", "-req", "-in", str(asked), *signer, "-extfile", str(names), "-out", str(certificate))
        return certificate, key

    def locks(self, key: Path) -> Path:
        """The key behind a passphrase."""
        locked = key.with_suffix(".locked")
        self._openssl("rsa", "-aes128", "-passout", "pass:x", "-in", str(key), "-out", str(locked))
        return locked

    def _new(self, key: Path) -> list[str]:
        return ["-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", str(key)]

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "house")


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "strangers")


@pytest.fixture
async def guarded(dicomweb: DicomwebServer, house: Authority) -> AsyncIterator[str]:
    """An archive that lets only those in whom the house has signed."""
    certificate, key = house.signs("localhost")
    tls = {"ssl_certfile": certificate, "ssl_keyfile": key, "ssl_ca_certs": house.certificate}
    async with served(dicomweb.app, ssl_cert_reqs=ssl.CERT_REQUIRED, **tls) as url:
        yield f"{url}/dicom-web"


async def test_an_archive_with_mutual_tls_lets_us_in_by_our_certificate(
    dicomweb: DicomwebServer, guarded: str, house: Authority, tmp_path: Path
) -> None:
    dicomweb.put(a_file())
    certificate, key = house.signs("relay")
    ours = {"client_certificate": certificate, "client_key": key, "certificate_authority": house.certificate}

    async with in_front_of(guarded, tmp_path, **ours) as setting:
        assert len(await setting.archive.instances(guarded, STUDY)) == 1
        assert await setting.fetch(name_of(a_file())) == a_file()


async def test_without_the_right_certificate_on_either_side_nothing_is_asked(
    dicomweb: DicomwebServer, guarded: str, house: Authority, strangers: Authority, tmp_path: Path
) -> None:
    certificate, key = strangers.signs("relay")
    wrong = [
        {"certificate_authority": house.certificate},  # we show none
        {"certificate_authority": house.certificate, "client_certificate": certificate, "client_key": key},
        {},  # nobody vouches for the archive
        {"certificate_authority": strangers.certificate},
    ]
    for ours in wrong:
        async with in_front_of(guarded, tmp_path, bearer_token=SECRET, **ours) as setting:
            with pytest.raises(ArchiveUnavailable):
                await setting.fetch(NOBODY)

    assert dicomweb.requests == []


async def test_a_token_server_may_be_known_to_everybody_and_the_archive_to_the_house_alone(
    dicomweb: DicomwebServer, house: Authority, strangers: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(strangers.certificate))  # whom everybody trusts
    dicomweb.put(a_file())
    tokens = TokenServer(dicomweb)
    tls = [
        dict(zip(("ssl_certfile", "ssl_keyfile"), each.signs("localhost"), strict=True)) for each in (house, strangers)
    ]
    async with served(dicomweb.app, **tls[0]) as archive, served(tokens.app, **tls[1]) as url:
        oauth = {"token_url": f"{url}/token", "client_id": tokens.client[0], "client_secret": tokens.client[1]}
        ours = {"certificate_authority": house.certificate, **oauth}
        async with in_front_of(f"{archive}/dicom-web", tmp_path, **ours) as setting:
            assert await setting.fetch(name_of(a_file())) == a_file()
        async with in_front_of(f"{url}/dicom-web", tmp_path, certificate_authority=house.certificate) as setting:
            with pytest.raises(ArchiveUnavailable):
                await setting.fetch(NOBODY)


def test_files_of_a_certificate_that_do_not_serve_stop_the_start(
    house: Authority, strangers: Authority, tmp_path: Path
) -> None:
    certificate, key = house.signs("relay")
    text = tmp_path / "text.pem"
    text.write_text("hush")
    wrong = [
        {"client_certificate": tmp_path / "none.crt", "client_key": key},
        {"client_certificate": certificate, "client_key": house.locks(key)},
        {"client_certificate": certificate, "client_key": strangers.signs("relay")[1]},
        {"client_certificate": text, "client_key": text},
        {"certificate_authority": text},
        {"certificate_authority": tmp_path / "none.crt"},
    ]
    for each in wrong:
        with pytest.raises(ValidationError, match="PEM") as caught:
            Archive.model_validate({"base_url": "https://pacs.test", **each})
        assert "hush" not in str(caught.value)


async def test_eight_that_are_refused_at_once_fetch_one_new_token(
    dicomweb: DicomwebServer, address: str, tmp_path: Path
) -> None:
    dicomweb.put(a_file())
    tokens = TokenServer(dicomweb)
    async with served(tokens.app) as url:
        oauth = {"token_url": f"{url}/token", "client_id": tokens.client[0], "client_secret": tokens.client[1]}
        async with in_front_of(address, tmp_path, **oauth) as setting:
            await setting.fetch(name_of(a_file()))
            dicomweb.admits = {"Bearer another"}
            await asyncio.gather(*(setting.fetch(name_of(a_file())) for _ in range(8)))
            assert tokens.given == 2

            tokens.fault = lambda _: Response(status_code=401)
            dicomweb.admits = {"Bearer another"}
            with pytest.raises(ArchiveCredentialsRefused):
                await setting.fetch(name_of(a_file()))
