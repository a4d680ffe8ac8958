"""What every archive of pictures promises; and how the real one stays among the servers it was given."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.image_archive import FakeImageArchive

from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.image_archive import (
    HttpImageArchive,
    ImageNotThere,
    ImageSourceUnavailable,
    ImageUrlNotAllowed,
)
from fundus_relay.domain.errors import PictureTooLarge, Rejected, Unavailable
from fundus_relay.pipeline.ports import ImageArchive

LOOPBACK = (ip_network("127.0.0.0/8"),)
PICTURE = bytes(range(256)) * 2000


@dataclass
class Setting:
    """An archive under test, and what its server serves below `base`."""

    archive: ImageArchive
    base: str
    server: Any = None


class Server:
    """An HTTP server that answers each path with the bytes it was given, and notes what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.port = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(request)
            writer.write(self.answers.get(request.split()[1], b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def an_answer(body: bytes = PICTURE, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as server:
        server.answers["/pictures/1"] = an_answer(PICTURE, "200 OK", "Content-Type: image/jpeg")
        yield server


@pytest.fixture
def base(server: Server) -> str:
    return f"http://localhost:{server.port}/pictures"


@pytest.fixture(params=["http", "fake"])
def setting(request: pytest.FixtureRequest, server: Server, base: str) -> Setting:
    if request.param == "http":
        return Setting(HttpImageArchive((base,), LOOPBACK), base, server)
    return Setting(FakeImageArchive(base, {f"{base}/1": PICTURE}), base)


Fetch = Callable[..., Awaitable[bytes]]


@pytest.fixture
async def fetch(tmp_path: Path) -> AsyncIterator[Fetch]:
    """What an archive writes for a URL."""
    blobs = DirectoryBlobs(tmp_path)

    async def fetch(archive: ImageArchive, url: str, limit: int = 10_000_000) -> bytes:
        draft = blobs.draft()
        try:
            await archive.fetch(url, draft, limit=limit)
            async with draft.view() as data:
                return bytes(data)
        finally:
            assert draft.byte_count <= limit
            await draft.drop()

    yield fetch


async def test_a_picture_below_a_listed_base_is_fetched(setting: Setting, fetch: Fetch) -> None:
    assert await fetch(setting.archive, f"{setting.base}/1") == PICTURE


async def test_the_stated_type_is_told(setting: Setting, tmp_path: Path) -> None:
    draft = DirectoryBlobs(tmp_path).draft()

    assert await setting.archive.fetch(f"{setting.base}/1", draft, limit=10_000_000) == "image/jpeg"
    await draft.drop()


async def test_a_picture_that_is_not_there_is_rejected(setting: Setting, fetch: Fetch) -> None:
    with pytest.raises(ImageNotThere):
        await fetch(setting.archive, f"{setting.base}/2")


async def test_a_picture_over_the_limit_is_cut_off(setting: Setting, fetch: Fetch) -> None:
    with pytest.raises(PictureTooLarge):
        await fetch(setting.archive, f"{setting.base}/1", limit=len(PICTURE) - 1)


async def test_a_picture_at_the_limit_is_taken(setting: Setting, fetch: Fetch) -> None:
    assert await fetch(setting.archive, f"{setting.base}/1", limit=len(PICTURE)) == PICTURE


async def test_another_server_is_not_asked(setting: Setting, fetch: Fetch) -> None:
    with pytest.raises(ImageUrlNotAllowed):
        await fetch(setting.archive, "http://elsewhere.test/pictures/1")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:{port}/picturesque/1",
        "http://localhost:{port}/other/1",
        "http://localhost:{port}/pictures",
        "http://localhost:{port}/pictures/../other/1",
        "http://localhost:{port}/pictures/%2e%2e/other/1",
        "http://localhost:{port}/pictures/%2E./other/1",
        "http://localhost:{port}/pictures/..%2fother/1",
        "http://localhost:{port}/pictures/%252e%252e/other",
        "http://localhost:{port}/pictures/%25252e%25252e/other",
        "http://localhost:{port}/pictures/..;/other/1",
        "http://localhost:{port}/pictures/..;a=1/other/1",
        "http://localhost:{port}/pictures/..%3B/other/1",
        "http://localhost:{port}/pictures/.;/1",
        "http://localhost:{port}/pictures/%2f1",
        "http://localhost:{port}/pictures/%5C..%5cother",
        "http://localhost:{port}/pictures/%u002e%u002e/other",
        "http://localhost:{port}/pictures/1%",
        "http://localhost:{port}/pictures/1%2",
        "http://localhost:{port}/pictures/1%00.jpg",
        "http://localhost:{port}/pictures/1%0d%0aX-Other:%201",
        "http://localhost:{port}/pictures/1%09",
        "http://localhost:{port}/pictures/1%7F",
        "http://localhost:{port}/pictures/1%C2%85",
        "http://localhost:{port}/pictures/%80",
        "http://localhost:{port}/pictures/%ff",
        "http://localhost:{port}/pictures/%c0%ae%c0%ae/other/1",
        "http://localhost:{port}/pictures/..%c0%afother/1",
        "http://localhost:{port}/pictures/..%e0%80%afother/1",
        "http://localhost:{port}/pictures/%EF%BC%8E%EF%BC%8E/other/1",
        "http://localhost:{port}/pictures/..%EF%BC%8Fother/1",
        "http://localhost:{port}/pictures/%E2%80%A5/other/1",
        "http://localhost:{port}/pictures\\..\\other",
        "http://localhost:{port}/pictures/1#x",
        "http://localhost:{port}/pictures/1 2",
        "http://localhost:{port}/pictures/é",
        "http://user@localhost:{port}/pictures/1",
        "http://localhost:{port}@elsewhere.test/pictures/1",
        "http://elsewhere.test#@localhost:{port}/pictures/1",
        "http://localhost.elsewhere.test:{port}/pictures/1",
        "https://localhost:{port}/pictures/1",
        "http://localhost/pictures/1",
        "http://localhost:99999/pictures/1",
        "http://localhost:x/pictures/1",
        "ftp://localhost:{port}/pictures/1",
        "file:///pictures/1",
        "//localhost:{port}/pictures/1",
        "/pictures/1",
        "urn:uuid:1",
        "http://[::1/pictures/1",
        "",
    ],
)
async def test_what_is_not_below_a_listed_base_is_not_asked(server: Server, base: str, fetch: Fetch, url: str) -> None:
    with pytest.raises(ImageUrlNotAllowed):
        await fetch(HttpImageArchive((base,), LOOPBACK), url.format(port=server.port))

    assert server.requests == []


@pytest.mark.parametrize(
    "path",
    ["OD%201.jpg", "a..b/c.;v=1/1", "...", "%E0%B4%B0%E0%B5%8D%E2%80%8D%E0%A4%A8", "%C3%A9%CC%81", "1?of=../a%2Fb%ff"],
)
async def test_a_name_that_is_merely_unusual_is_asked_for(server: Server, base: str, fetch: Fetch, path: str) -> None:
    server.answers[f"/pictures/{path}"] = an_answer()

    assert await fetch(HttpImageArchive((base,), LOOPBACK), f"{base}/{path}") == PICTURE


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        ("127.0.0.1", ()),
        ("[::1]", ()),
        ("[::ffff:127.0.0.1]", ()),
        ("[64:ff9b::7f00:1]", ()),
        ("[2002:7f00:1::]", ()),
        ("10.0.0.1", LOOPBACK),
        ("192.168.0.1", ()),
        ("100.64.0.1", ()),
        ("0.0.0.0", ("0.0.0.0/0",)),
        ("169.254.169.254", ()),
        ("169.254.169.254", ("169.254.0.0/16", "0.0.0.0/0")),
        ("[::ffff:169.254.169.254]", ("169.254.0.0/16", "::/0")),
        ("[fe80::1]", ("::/0",)),
        ("[fd00:ec2::254]", ()),
        ("224.0.0.1", ("0.0.0.0/0",)),
        ("2130706433", ()),
        ("0x7f.1", ()),
    ],
)
async def test_private_and_link_local_addresses_are_not_asked(
    server: Server, fetch: Fetch, address: str, networks: tuple[Any, ...]
) -> None:
    base = f"http://{address}:{server.port}"

    with pytest.raises(ImageUrlNotAllowed):
        await fetch(HttpImageArchive((base,), tuple(ip_network(each) for each in networks)), f"{base}/pictures/1")

    assert server.requests == []


async def test_a_name_that_leads_inside_is_not_asked(server: Server, base: str, fetch: Fetch) -> None:
    with pytest.raises(ImageUrlNotAllowed):
        await fetch(HttpImageArchive((base,), ()), f"{base}/1")

    assert server.requests == []


async def test_the_server_hears_its_own_name_and_no_credentials(server: Server, base: str, fetch: Fetch) -> None:
    await fetch(HttpImageArchive((f"{base}/",), LOOPBACK), f"{base}/1")

    (request,) = server.requests
    headers = request.lower()
    assert f"host: localhost:{server.port}\r\n" in headers
    assert "accept: image/jpeg" in headers
    assert "authorization" not in headers
    assert "cookie" not in headers


async def test_a_query_is_passed_on(server: Server, base: str, fetch: Fetch) -> None:
    server.answers["/pictures/1?token=%20a"] = an_answer(b"x")

    assert await fetch(HttpImageArchive((base,), LOOPBACK), f"{base}/1?token=%20a") == b"x"


ELSEWHERE = "Location: http://169.254.169.254/latest"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (an_answer(b"", "302 Found", ELSEWHERE), ImageNotThere),
        (an_answer(b"", "308 Moved", ELSEWHERE), ImageNotThere),
        (an_answer(b"", "204 Nothing"), ImageNotThere),
        (an_answer(b"", "401 Who"), ImageNotThere),
        (an_answer(b"", "403 No"), ImageNotThere),
        (an_answer(b"", "410 Gone"), ImageNotThere),
        (an_answer(b"", "429 Slower", "Retry-After: 7"), ImageSourceUnavailable),
        (an_answer(b"", "500 Oh"), ImageSourceUnavailable),
        (an_answer(b"", "503 Later", "Retry-After: 7"), ImageSourceUnavailable),
        (an_answer(PICTURE, length=len(PICTURE) + 1), ImageSourceUnavailable),
        (an_answer(PICTURE, "200 OK", "Content-Encoding: gzip"), ImageNotThere),
        (an_answer(b"", length=10**12), PictureTooLarge),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(10_000_001), PictureTooLarge),
        (b"not http\r\n\r\n", ImageSourceUnavailable),
        (b"", ImageSourceUnavailable),
    ],
)
async def test_every_answer_but_a_whole_picture_is_an_error_that_says_whether_to_try_again(
    server: Server, base: str, fetch: Fetch, answer: bytes, error: type[Exception]
) -> None:
    server.answers["/pictures/1"] = answer

    with pytest.raises(error) as caught:
        await fetch(HttpImageArchive((base,), LOOPBACK), f"{base}/1")

    assert isinstance(caught.value, Rejected | Unavailable)
    assert base not in str(caught.value)


async def test_a_busy_server_says_when_to_come_back(server: Server, base: str, fetch: Fetch) -> None:
    server.answers["/pictures/1"] = an_answer(b"", "503 Later", "Retry-After: 7")

    with pytest.raises(ImageSourceUnavailable) as caught:
        await fetch(HttpImageArchive((base,), LOOPBACK), f"{base}/1")

    assert caught.value.retry_after is not None
    assert caught.value.retry_after.total_seconds() == 7


async def test_a_server_that_is_down_or_unknown_is_unavailable(fetch: Fetch) -> None:
    down, unknown = "http://127.0.0.1:9", "http://nobody.invalid"
    archive = HttpImageArchive((down, unknown), LOOPBACK)

    for base in (down, unknown):
        with pytest.raises(ImageSourceUnavailable):
            await fetch(archive, f"{base}/1")


@pytest.mark.parametrize("source", ["ftp://x.test", "x.test/pictures", "http://user@x.test", "http://x.test/../a"])
def test_a_base_that_says_two_things_is_refused_at_the_start(source: str) -> None:
    with pytest.raises(ValueError, match="base URL"):
        HttpImageArchive((source,), ())


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Key and certificate of `localhost`, and of nothing else, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate, and is not installed")
    path = tmp_path / "localhost.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *names]
    subprocess.run([*made, "-keyout", str(path), "-out", str(tmp_path / "c.pem")], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + (tmp_path / "c.pem").read_bytes())
    return path


async def test_a_certificate_is_asked_of_the_name_not_of_the_address(
    certificate: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with serving(tls) as server:
        server.answers["/1"] = an_answer()
        by_name, by_address = f"https://localhost:{server.port}", f"https://127.0.0.1:{server.port}"

        with pytest.raises(ImageSourceUnavailable):  # nobody vouches for it
            await fetch(HttpImageArchive((by_name,), LOOPBACK), f"{by_name}/1")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert await fetch(HttpImageArchive((by_name,), LOOPBACK), f"{by_name}/1") == PICTURE
        with pytest.raises(ImageSourceUnavailable):  # the certificate is of another name
            await fetch(HttpImageArchive((by_address,), LOOPBACK), f"{by_address}/1")
