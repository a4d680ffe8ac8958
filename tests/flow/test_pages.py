"""The pages for people: shown as rendered, with nothing from elsewhere; what they tell a sender to send is taken."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from tests.fakes.study_archive import FakeStudyArchive
from tests.serving import an_application
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay import guide
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.api.pages import MISSING, POLICY, SITE, routes
from fundus_relay.fhir.definitions import KINDS

CONNECT = Path(__file__).parents[2] / "profiles" / "pages" / "connect.md"
rendered = pytest.mark.skipif(not (SITE / POLICY).exists(), reason="the pages are not rendered: `make pages`")
BASE = "http://relay.test"


@pytest.fixture
async def client(ledger: PostgresLedger, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = an_application(ledger, tmp_path, studies=FakeStudyArchive("http://pacs.test/dicom-web"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE) as client:
        yield client


class Loads(HTMLParser):
    """Whatever a browser fetches by itself for a page, and what the reader may go to."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "src" in given:
            self.loaded.append(given["src"])
        if tag == "link" and given.get("rel") not in {"canonical", "prev", "next"}:
            self.loaded.append(given["href"])
        if tag == "a" and "href" in given:
            self.linked.append(given["href"])


def loads_of(page: Path) -> Loads:
    loads = Loads()
    loads.feed(page.read_text())
    return loads


@rendered
async def test_pages_are_shown_with_a_policy_that_lets_nothing_in(client: httpx.AsyncClient) -> None:
    begin = await client.get("/guide", follow_redirects=True)

    assert begin.status_code == 200
    assert "Ancillary" in begin.text
    for path in (
        "",
        "connect/",
        "boxes/worked-picture.jpg" if (SITE / "boxes/worked-picture.jpg").exists() else "worked-picture.jpg",
    ):
        answer = await client.get(f"/guide/{path}")
        assert answer.status_code == 200, path
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = await client.get(f"/guide/{path}", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304


@rendered
def test_pages_load_nothing_from_elsewhere_and_lead_nowhere_that_is_not_there() -> None:
    for page in SITE.rglob("*.html"):
        loads = loads_of(page)
        assert [each for each in loads.loaded if re.match(r"(?:\w+:)?//", each)] == []
        for each in [*loads.loaded, *loads.linked]:
            local = each.partition("#")[0].partition("?")[0]
            if local and not re.match(r"\w+:|//", local) and "/fhir/" not in local:
                target = page.parent / local
                assert target.is_file() or (target / "index.html").is_file(), f"{page.name}: {each}"
    styles = [path.read_text() for path in SITE.rglob("*.css")]
    assert not any(re.search(r"url\(['\"]?(?:https?:)?//", each) for each in styles)


@rendered
def test_the_tables_have_every_code_and_every_profile() -> None:
    pages = {name: (SITE / name / "index.html").read_text() for name in ("codes", "profiles")}

    for system in guide.artefacts("CodeSystem"):
        concepts = guide.artefact("CodeSystem", system)["concept"]
        for each in [child for group in concepts for child in group.get("concept", [group])]:
            assert f"<code>{each['code']}</code>" in pages["codes"]
    for kind in KINDS[:1]:
        for defined in guide.artefacts(kind).values():
            assert defined["url"] in pages["profiles"]


@rendered
@pytest.mark.parametrize("path", ["%2e%2e/__init__.py", "..%2fcompiled/CodeSystem-task.json", "nothing-here/"])
async def test_nothing_but_the_pages_is_shown(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(f"/guide/{path}")).status_code == 404


@rendered
@pytest.mark.parametrize("path", ["nothing", "nothing-here/", "boxes/a/b", "boxes/..%2fx/", "%22%3E%3Cb%3E/"])
async def test_who_is_lost_is_led_to_the_first_page(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/guide/{path}?a=/b/")
    (way,) = re.findall(r'href="([^"]*)"', answer.text)

    assert answer.status_code == 404
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<b>" not in answer.text
    assert urljoin(f"{BASE}/guide/{path}", way) == f"{BASE}/guide/"


@rendered
@pytest.mark.parametrize("path", ["/guide", "/guide/boxes"])
async def test_a_folder_is_found_whatever_a_gateway_calls_it(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    told = answer.headers["location"]

    assert answer.status_code == 308
    assert not urlsplit(told).netloc
    assert urljoin(f"https://gateway.test/relay{path}", told) == f"https://gateway.test/relay{path}/"


async def test_without_the_pages_it_says_so(tmp_path: Path) -> None:
    transport = httpx.ASGITransport(app=Starlette(routes=routes(tmp_path)))
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        for path in ("/guide", "/guide/", "/guide/connect/"):
            answer = await client.get(path)
            assert (answer.status_code, answer.text) == (404, MISSING)


async def test_what_the_pages_tell_a_sender_to_send_is_taken(client: httpx.AsyncClient) -> None:
    picture = base64.b64encode(a_jpeg()).decode()
    told = re.findall(r"```http\nPOST (\S+)\n.*?```\s+```json\n(.*?)```", CONNECT.read_text(), re.DOTALL)
    assert [path for path, _ in told] == ["/fhir/Media", "/fhir", "/fhir/ImagingStudy"]

    for path, body in told:
        answer = await client.post(path, json=json.loads(body.replace("<base64>", picture)))
        assert answer.status_code in {200, 201}, answer.text
        assert all(entry["response"]["status"].startswith("201") for entry in answer.json().get("entry", []))


async def test_a_photograph_is_answered_as_the_pages_say(client: httpx.AsyncClient) -> None:
    sent = re.search(r"```json\n(.*?)```", CONNECT.read_text(), re.DOTALL)
    told = re.search(r"```http\nHTTP/1.1 (\d+) \w+\n(.*?)```", CONNECT.read_text(), re.DOTALL)
    assert sent
    assert told

    answer = await client.post(
        "/fhir/Media", json=json.loads(sent[1].replace("<base64>", base64.b64encode(a_jpeg()).decode()))
    )

    kept = answer.json()
    said = told[2].replace("<base>", f"{BASE}/fhir").replace("<id>", kept["id"])
    assert answer.status_code == int(told[1])
    assert {answer.headers[name] == value for name, value in (line.split(": ", 1) for line in said.splitlines())} == {
        True
    }
    assert kept["content"].keys() >= {"url"}
    assert "data" not in kept["content"]
