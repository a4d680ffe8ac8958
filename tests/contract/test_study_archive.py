"""What every archive of studies promises; and what the real client makes of an archive that does not."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from fastapi import Response
from fastapi.responses import RedirectResponse, StreamingResponse
from tests.contract.archives import NOBODY, SECRET, Setting, a_file, in_front_of, name_of
from tests.dicom_files import STUDY, a_scene, dicom_file
from tests.fakes.archive import DicomwebServer, TokenServer, broken_off, multipart
from tests.fakes.study_archive import FakeStudyArchive
from tests.flow.world import ManualClock
from tests.serving import served
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.domain.dicom import InstanceName, ListedInstance
from fundus_relay.domain.errors import (
    ArchiveCredentialsRefused,
    ArchiveNotAllowed,
    ArchiveRefused,
    ArchiveUnavailable,
    InstanceNotThere,
    PictureTooLarge,
    RelayError,
)


@pytest.fixture
async def http(dicomweb: DicomwebServer, address: str, tmp_path: Path) -> AsyncIterator[Setting]:
    async def put(file: bytes) -> None:
        dicomweb.put(file)

    async with in_front_of(address, tmp_path) as setting:
        yield replace(setting, put=put)


@pytest.fixture(params=["http", "fake"])
def setting(request: pytest.FixtureRequest, tmp_path: Path) -> Setting:
    if request.param == "http":
        http: Setting = request.getfixturevalue("http")
        return http
    fake = FakeStudyArchive("http://archive.test/dicom-web")

    async def put(file: bytes) -> None:
        header = pydicom.dcmread(BytesIO(file), stop_before_pixels=True)
        frames = int(header.get("NumberOfFrames", 1))
        fake.put(ListedInstance(name_of(file), header.SOPClassUID, header.Modality, frames), file)

    return Setting(fake, fake.address, put, tmp_path)


# What every archive promises.


async def test_an_instance_is_given_as_it_is_stored(setting: Setting) -> None:
    await setting.put(a_file())

    assert await setting.fetch(name_of(a_file())) == a_file()


async def test_a_study_lists_its_instances_by_series_and_number_with_what_they_are(setting: Setting) -> None:
    frames = [dicom_file(a_scene(8, 8)[None].repeat(3, 0), frames=3, series=f"{STUDY}.97", instance=f"{STUDY}.97.1")]
    files = [a_file(1), a_file(2), a_file(10), a_file(1, series=2, Modality="XC"), *frames]
    for each in files[:4]:
        await setting.put(each)

    listed = await setting.archive.instances(setting.address, STUDY)

    assert [each.name for each in listed] == [name_of(each) for each in files[:4]]
    assert [each.modality for each in listed] == ["OP", "OP", "OP", "XC"]
    assert {each.sop_class for each in listed} == {"1.2.840.10008.5.1.4.1.1.77.1.5.1"}
    assert {each.frames for each in listed} == {1}


async def test_frames_are_counted_before_they_are_fetched(setting: Setting) -> None:
    await setting.put(dicom_file(a_scene(8, 8)[None].repeat(3, 0), frames=3))

    (listed,) = await setting.archive.instances(setting.address, STUDY)

    assert listed.frames == 3


async def test_a_study_that_is_not_there_yet_is_empty(setting: Setting) -> None:
    await setting.put(a_file())

    assert not await setting.archive.instances(setting.address, f"{STUDY}.7")


async def test_an_instance_that_is_not_there_is_told_apart(setting: Setting) -> None:
    with pytest.raises(InstanceNotThere):
        await setting.fetch(NOBODY)


async def test_an_instance_over_the_limit_is_cut_off_and_one_at_it_is_taken(setting: Setting) -> None:
    await setting.put(a_file())

    with pytest.raises(PictureTooLarge):
        await setting.fetch(name_of(a_file()), limit=len(a_file()) - 1)
    assert await setting.fetch(name_of(a_file()), limit=len(a_file())) == a_file()


async def test_an_archive_that_is_not_listed_is_neither_known_nor_asked(setting: Setting) -> None:
    elsewhere = "http://elsewhere.test/dicom-web"

    assert setting.archive.knows(setting.address)
    assert not setting.archive.knows(elsewhere)
    with pytest.raises(ArchiveNotAllowed):
        await setting.archive.instances(elsewhere, STUDY)
    with pytest.raises(ArchiveNotAllowed):
        await setting.fetch(NOBODY, at=elsewhere)


async def test_the_first_archive_is_that_of_studies_which_name_none(setting: Setting) -> None:
    assert setting.archive.default == setting.address


# What the real client does besides.


@pytest.mark.parametrize("path", ["/", "/tenant/7", "/tenant/7/"])
async def test_an_address_may_end_in_a_slash_and_lie_below_the_listed_one(
    dicomweb: DicomwebServer, http: Setting, path: str
) -> None:
    dicomweb.fault = lambda _: Response(status_code=204)

    assert http.archive.knows(f"{http.address}{path}")
    assert await http.archive.instances(f"{http.address}{path}", STUDY) == []

    assert dicomweb.seen == [f"/dicom-web{path.rstrip('/')}/studies/{STUDY}/instances"]


@pytest.mark.parametrize("suffix", ["x", "/../other", "/%2e%2e/other", "?a=b", "#a", "/..;/other", "\\other"])
async def test_what_is_not_below_the_listed_archive_is_not_asked(
    dicomweb: DicomwebServer, http: Setting, suffix: str
) -> None:
    assert not http.archive.knows(f"{http.address}{suffix}")
    with pytest.raises(ArchiveNotAllowed):
        await http.archive.instances(f"{http.address}{suffix}", STUDY)

    assert dicomweb.requests == []


@pytest.mark.parametrize("uid", ["", "1.2/../3", "1.2?x=1", "1..2", "01.2", "1." + "2" * 70, "1.2\n"])
async def test_what_is_no_uid_comes_into_no_url(dicomweb: DicomwebServer, http: Setting, uid: str) -> None:
    with pytest.raises(ArchiveRefused):
        await http.archive.instances(http.address, uid)
    with pytest.raises(ArchiveRefused):
        await http.fetch(InstanceName(STUDY, uid, "1.2"))

    assert dicomweb.requests == []


@pytest.mark.parametrize("most", [1, 3, 7, 100])
async def test_a_search_is_read_to_its_last_page_however_small_the_archive_makes_them(
    dicomweb: DicomwebServer, http: Setting, most: int
) -> None:
    dicomweb.most = most
    for number in range(7):
        dicomweb.put(a_file(number))

    assert len(await http.archive.instances(http.address, STUDY)) == 7


async def test_an_archive_that_gives_every_page_the_same_is_asked_no_more_than_twice(
    dicomweb: DicomwebServer, http: Setting
) -> None:
    dicomweb.put(a_file())
    everything = await dicomweb._metadata(STUDY)
    dicomweb.fault = lambda _: Response(everything.body, media_type="application/dicom+json")

    assert len(await http.archive.instances(http.address, STUDY)) == 1
    assert len(dicomweb.requests) == 2


async def test_an_archive_without_searches_is_asked_for_the_metadata(dicomweb: DicomwebServer, http: Setting) -> None:
    dicomweb.searches = False
    dicomweb.put(a_file(1, NumberOfFrames=1))
    dicomweb.put(a_file(2, Modality=None))

    listed = await http.archive.instances(http.address, STUDY)

    assert [each.modality for each in listed] == ["OP", ""]
    assert not await http.archive.instances(http.address, f"{STUDY}.7")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Sign in</html>",
        b"{}",
        b"[1]",
        b"[null]",
        b'[{"00080018": {"vr": "UI", "Value": ["1.2/../3"]}}]',
        b'[{"0020000E": {"Value": ["1"]}, "00080018": {"Value": ["1"]}}',
        b"[] []",
        b"\xff\xfe[]",
        b"[" * 100_000,
        b'[{"a": ' + b"[" * 100_000,
        b'[{"a": "' + b"x" * 2_000_000 + b'"}]',
    ],
)
async def test_what_is_no_list_of_the_study_is_not_taken_for_an_empty_one(
    dicomweb: DicomwebServer, http: Setting, body: bytes
) -> None:
    dicomweb.fault = lambda _: Response(body, media_type="application/dicom+json")

    with pytest.raises(ArchiveUnavailable):
        await http.archive.instances(http.address, STUDY)


async def test_a_compressed_list_is_read(dicomweb: DicomwebServer, http: Setting) -> None:
    dicomweb.put(a_file())
    listing = gzip.compress(bytes((await dicomweb._metadata(STUDY)).body))
    dicomweb.fault = lambda _: Response(listing, headers={"Content-Encoding": "gzip"})

    assert len(await http.archive.instances(http.address, STUDY)) == 1


async def test_an_archive_that_knows_no_stored_syntax_is_asked_without_it(
    dicomweb: DicomwebServer, http: Setting
) -> None:
    dicomweb.put(a_file())
    dicomweb.fault = lambda request: Response(status_code=406) if "syntax" in request.headers["accept"] else None

    assert len(await http.fetch(name_of(a_file()))) == len(a_file())


Answer = Callable[[bytes], Response]


@pytest.mark.parametrize(
    "answer",
    [
        lambda file: Response(file, media_type="application/dicom"),
        lambda file: Response(file, media_type="image/png"),
        lambda file: multipart(file, boundary="with spaces, (and) more"),
        lambda file: multipart(file, **{"Content-Type": "multipart/related; boundary=a-boundary-of-ours"}),
        lambda file: multipart(file, **{"Content-Type": "Multipart/Mixed; BOUNDARY=a-boundary-of-ours; type=x"}),
        lambda file: Response(
            b"a preamble\r\n--b\r\n\r\n" + file + b"\r\n--b--\r\nan epilogue",
            headers={"Content-Type": "multipart/related; boundary=b"},
        ),
    ],
)
async def test_what_headers_say_does_not_matter_when_the_bytes_are_dicom(
    dicomweb: DicomwebServer, http: Setting, answer: Answer
) -> None:
    dicomweb.fault = lambda _: answer(a_file())

    assert await http.fetch(name_of(a_file())) == a_file()


@pytest.mark.parametrize(
    "answer",
    [
        lambda file: multipart(file, is_whole=False),
        lambda file: broken_off(file[:500], {"Content-Type": "application/dicom"}),
        lambda file: broken_off(file[:500], {"Content-Length": str(len(file))}),
        lambda file: broken_off(bytes(multipart(file).body)[:500], multipart(file).headers),
        lambda file: Response(b"<html>Sign in</html>" * 100, media_type="application/dicom"),
        lambda file: Response(a_jpeg(), media_type="image/jpeg"),
        lambda _: multipart(a_jpeg()),
        lambda _: multipart(b"DICM"),
        lambda _: multipart(),
        lambda file: multipart(file, file),
        lambda file: multipart(file, **{"Content-Encoding": "gzip"}),
        lambda _: Response(b"", media_type="application/dicom"),
        lambda _: Response(status_code=204),
        lambda _: Response(b"x" * 100_000, headers={"Content-Type": "multipart/related; boundary=b"}),
        lambda _: Response(status_code=500),
        lambda _: Response(status_code=502),
        lambda _: Response(status_code=408),
    ],
)
async def test_half_an_instance_or_none_is_tried_again(dicomweb: DicomwebServer, http: Setting, answer: Answer) -> None:
    dicomweb.fault = lambda _: answer(a_file())

    with pytest.raises(ArchiveUnavailable):
        await http.fetch(name_of(a_file()))


@pytest.mark.parametrize("status", [300, 400, 405, 406, 409])
async def test_a_refusal_that_waiting_does_not_cure_is_for_a_person(
    dicomweb: DicomwebServer, http: Setting, status: int
) -> None:
    dicomweb.fault = lambda _: Response(status_code=status)

    with pytest.raises(ArchiveRefused):
        await http.fetch(NOBODY)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_archive_says_when_to_come_back(dicomweb: DicomwebServer, http: Setting, status: int) -> None:
    dicomweb.fault = lambda _: Response(status_code=status, headers={"Retry-After": "7"})

    with pytest.raises(ArchiveUnavailable) as caught:
        await http.fetch(NOBODY)

    assert caught.value.retry_after is not None
    assert caught.value.retry_after.total_seconds() == 7


async def test_an_archive_that_falls_silent_is_left(dicomweb: DicomwebServer, address: str, tmp_path: Path) -> None:
    async def pieces(start: bytes) -> AsyncIterator[bytes]:
        yield start
        await asyncio.Event().wait()

    dicomweb.fault = lambda request: StreamingResponse(pieces(b"[" if request.url.query else a_file()[:500]))

    async with in_front_of(address, tmp_path, timeout=0.3) as setting:
        with pytest.raises(ArchiveUnavailable, match="slow"):
            await setting.fetch(NOBODY)
        with pytest.raises(ArchiveUnavailable, match="slow"):
            await setting.archive.instances(address, STUDY)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/dicom-web", "https://nobody.invalid/dicom-web"])
async def test_an_archive_that_is_down_or_unknown_is_unavailable(address: str, tmp_path: Path) -> None:
    async with in_front_of(address, tmp_path) as setting:
        with pytest.raises(ArchiveUnavailable):
            await setting.archive.instances(address, STUDY)
        with pytest.raises(ArchiveUnavailable):
            await setting.fetch(NOBODY)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_credentials_do_not_follow_a_redirect_to_another_server(
    dicomweb: DicomwebServer, address: str, tmp_path: Path, status: int
) -> None:
    elsewhere = DicomwebServer()
    async with served(elsewhere.app) as url, in_front_of(address, tmp_path, bearer_token=SECRET) as setting:
        dicomweb.fault = lambda request: RedirectResponse(f"{url}{request.url.path}", status)

        with pytest.raises(ArchiveRefused):
            await setting.fetch(NOBODY)
        with pytest.raises(ArchiveRefused):
            await setting.archive.instances(address, STUDY)

    assert elsewhere.requests == []


async def test_a_redirect_within_the_archive_is_followed_but_not_for_ever(
    dicomweb: DicomwebServer, http: Setting
) -> None:
    dicomweb.put(a_file())
    dicomweb.fault = lambda request: (
        None if "moved" in request.url.query else RedirectResponse(f"{request.url.path}?moved=1")
    )
    assert await http.fetch(name_of(a_file())) == a_file()

    dicomweb.fault = lambda request: RedirectResponse(request.url.path)
    with pytest.raises(ArchiveUnavailable):
        await http.fetch(name_of(a_file()))
    assert len(dicomweb.requests) < 10


@pytest.mark.parametrize("elsewhere", ["/other-tenant/instance", "/dicom-web-of-others", "/"])
async def test_credentials_do_not_follow_a_redirect_out_of_the_archives_own_path(
    dicomweb: DicomwebServer, address: str, tmp_path: Path, elsewhere: str
) -> None:
    async with in_front_of(address, tmp_path, bearer_token=SECRET) as setting:
        dicomweb.put(a_file())
        dicomweb.fault = lambda request: RedirectResponse(elsewhere) if "/studies" in request.url.path else None

        with pytest.raises(RelayError):
            await setting.fetch(name_of(a_file()))

    inside, *outside = dicomweb.requests
    assert "authorization" in inside.headers
    assert outside
    assert not any("authorization" in each.headers for each in outside)


async def test_a_date_says_as_well_as_seconds_when_to_come_again(dicomweb: DicomwebServer, http: Setting) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    dicomweb.fault = lambda _: Response(status_code=503, headers={"Retry-After": at})

    with pytest.raises(ArchiveUnavailable) as caught:
        await http.fetch(NOBODY)

    assert caught.value.retry_after is not None
    assert timedelta(minutes=59) < caught.value.retry_after <= timedelta(hours=1)


# Who we are.


@pytest.mark.parametrize(
    ("how", "header"),
    [
        ({}, None),
        ({"username": "relay", "password": SECRET}, "Basic cmVsYXk6aHVzaA=="),
        ({"bearer_token": SECRET}, "Bearer hush"),
    ],
)
async def test_the_archive_hears_who_we_are_as_the_operator_said(
    dicomweb: DicomwebServer, address: str, tmp_path: Path, how: dict[str, str], header: str | None
) -> None:
    dicomweb.put(a_file())
    async with in_front_of(address, tmp_path, **how) as setting:
        await setting.archive.instances(address, STUDY)
        await setting.fetch(name_of(a_file()))

    assert {each.headers.get("authorization") for each in dicomweb.requests} == {header}


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_account_waits_for_an_operator_and_names_no_secret(
    dicomweb: DicomwebServer, address: str, tmp_path: Path, status: int
) -> None:
    dicomweb.fault = lambda _: Response(status_code=status)
    async with in_front_of(address, tmp_path, username="relay", password=SECRET) as setting:
        with pytest.raises(ArchiveCredentialsRefused) as caught:
            await setting.fetch(NOBODY)

    assert SECRET not in f"{caught.value!r} {caught.value}"
    assert len(dicomweb.requests) == 1


@pytest.fixture
async def tokens(dicomweb: DicomwebServer) -> TokenServer:
    return TokenServer(dicomweb)


@pytest.fixture
async def oauth(tokens: TokenServer) -> AsyncIterator[dict[str, str]]:
    async with served(tokens.app) as url:
        yield {"token_url": f"{url}/token", "client_id": tokens.client[0], "client_secret": tokens.client[1]}


async def test_one_token_is_fetched_for_all_who_wait_and_another_before_it_ends(
    dicomweb: DicomwebServer, tokens: TokenServer, oauth: dict[str, str], address: str, tmp_path: Path
) -> None:
    dicomweb.put(a_file())
    clock = ManualClock()
    async with in_front_of(address, tmp_path, clock, **oauth) as setting:
        await asyncio.gather(*(setting.fetch(name_of(a_file())) for _ in range(8)))
        assert tokens.given == 1

        clock.advance(timedelta(seconds=tokens.lasts_s - 29))
        assert await setting.fetch(name_of(a_file())) == a_file()
        assert tokens.given == 2


async def test_a_token_that_was_withdrawn_is_replaced_once(
    dicomweb: DicomwebServer, tokens: TokenServer, oauth: dict[str, str], address: str, tmp_path: Path
) -> None:
    dicomweb.put(a_file())
    async with in_front_of(address, tmp_path, **oauth) as setting:
        await setting.fetch(name_of(a_file()))
        dicomweb.admits = {"Bearer none of those"}
        assert await setting.fetch(name_of(a_file())) == a_file()
        assert tokens.given == 2

        dicomweb.fault = lambda _: Response(status_code=401)
        with pytest.raises(ArchiveCredentialsRefused):
            await setting.fetch(name_of(a_file()))
        assert tokens.given == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Response(status_code=401), ArchiveCredentialsRefused),
        (Response(b'{"error": "invalid_client"}', 400), ArchiveCredentialsRefused),
        (Response(status_code=503), ArchiveUnavailable),
        (Response(b"<html>"), ArchiveUnavailable),
        (Response(b"[]"), ArchiveUnavailable),
        (Response(b"{}"), ArchiveUnavailable),
        (Response(b'{"access_token": 1}'), ArchiveUnavailable),
        (Response(b'{"access_token": "a\\r\\nb"}'), ArchiveUnavailable),
        (Response('{"access_token": "é"}'), ArchiveUnavailable),
        (Response(b'{"access_token": "a", "expires_in": "soon"}'), ArchiveUnavailable),
        (Response(b'{"access_token": "a", "expires_in": 1e999}'), ArchiveUnavailable),
        (Response(b" " * 100_000), ArchiveUnavailable),
        (RedirectResponse("http://elsewhere.test/token"), ArchiveUnavailable),
    ],
)
async def test_a_token_server_that_gives_none_is_an_error_that_says_who_must_act(
    tokens: TokenServer,
    oauth: dict[str, str],
    dicomweb: DicomwebServer,
    address: str,
    tmp_path: Path,
    answer: Response,
    error: type[RelayError],
) -> None:
    tokens.fault = lambda _: answer
    async with in_front_of(address, tmp_path, **oauth) as setting:
        with pytest.raises(error) as caught:
            await setting.fetch(NOBODY)

    assert type(caught.value) is error
    assert dicomweb.requests == []


async def test_a_token_server_that_is_down_is_unavailable(address: str, tmp_path: Path) -> None:
    oauth = {"token_url": "http://127.0.0.1:9/token", "client_id": "a", "client_secret": SECRET}
    async with in_front_of(address, tmp_path, **oauth) as setting:
        with pytest.raises(ArchiveUnavailable):
            await setting.fetch(NOBODY)
