"""The stand-in keeps the vendor's document, loses nothing in a restart, and fails as it is told to."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from tests.serving import served
from tests.unit.imaging.pictures import a_jpeg, a_png

from fundus_relay.standin.app import standin
from fundus_relay.standin.settings import StandinSettings

PICTURE = a_jpeg()


class Caller:
    """A client of the API that keeps its token."""

    def __init__(self, url: str) -> None:
        self.http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=20)
        self.token = ""

    async def call(self, name: str, **fields: Any) -> dict[str, Any]:
        answer = await self.http.post(f"/v1/{name}", data={"token": self.token, **fields})
        assert answer.status_code == 200
        assert "not a medical device" in answer.headers["X-Standin"]
        told: dict[str, Any] = answer.json()
        return told

    async def log_in(self) -> dict[str, Any]:
        told = await self.call("getToken", username="demo", password="demo", apiRequestType="DIAB_RETINA")
        self.token = told["token"]
        return told

    async def upload(self, picture: bytes = PICTURE) -> dict[str, Any]:
        return await self.call("doAnalysis", image=in_base64(picture), imageName="a.jpg")

    async def admin(self, what: str, **said: Any) -> dict[str, Any]:
        answer = await self.http.post(f"/admin/{what}", json=said)
        told: dict[str, Any] = answer.raise_for_status().json()
        return told


def in_base64(picture: bytes) -> str:
    return "data:image/jpeg;base64," + base64.urlsafe_b64encode(picture).decode()


@pytest.fixture
def settings(tmp_path: Path) -> StandinSettings:
    return StandinSettings(analyser="instant", state=tmp_path / "standin.sqlite", credits=3)


@pytest.fixture
async def caller(settings: StandinSettings) -> AsyncIterator[Caller]:
    async with served(standin(settings)) as url:
        caller = Caller(url)
        await caller.log_in()
        yield caller
        await caller.http.aclose()


async def test_a_token_lasts_two_hours_told_in_milliseconds(caller: Caller) -> None:
    told = await caller.log_in()

    assert told["validUpto"] / 1000 - time.time() == pytest.approx(7200, abs=30)
    assert (told["status"], told["remaining"], told["standin"]) == (200, 3, True)


async def test_a_wrong_password_gets_no_token(caller: Caller) -> None:
    told = await caller.call("getToken", username="demo", password="x")

    assert told["status"] == 411
    assert "token" not in told


@pytest.mark.parametrize(
    "image",
    [
        in_base64(PICTURE),
        base64.b64encode(PICTURE).decode(),
        base64.urlsafe_b64encode(PICTURE).decode().rstrip("="),
        "data:image/png;base64," + base64.b64encode(PICTURE).decode(),  # the bytes decide
    ],
    ids=["url-safe", "standard", "unpadded", "wrong prefix"],
)
async def test_every_base64_is_read(caller: Caller, image: str) -> None:
    assert (await caller.call("doAnalysis", image=image))["status"] == 200


async def test_a_form_in_parts_is_read_too(caller: Caller) -> None:
    fields = {"token": (None, caller.token), "image": (None, in_base64(a_png()))}

    answer = await caller.http.post("/v1/doAnalysis", files=fields)

    assert answer.json()["status"] == 200


@pytest.mark.parametrize("picture", [b"GIF89a", b"", b"II*\0"])
async def test_what_is_no_jpeg_or_png_is_refused_and_costs_nothing(caller: Caller, picture: bytes) -> None:
    told = await caller.upload(picture)

    assert told == {"status": 411, "message": "LC-ERR-0034 : Only jpeg and png type images allowed."}
    assert (await caller.log_in())["remaining"] == 3


async def test_more_than_five_megabytes_are_refused(caller: Caller) -> None:
    told = await caller.upload(PICTURE + bytes(5 * 1024 * 1024))

    assert told == {"status": 411, "message": "LC-ERR-0033 : Max Allowed Single Image Size 5 MB."}


async def test_credits_count_down_and_run_out(caller: Caller) -> None:
    remaining = [(await caller.upload())["remaining"] for _ in range(3)]
    told = await caller.upload()

    assert remaining == [2, 1, 0]
    assert (told["status"], told["message"]) == (411, "No API credits remaining.")


@pytest.mark.parametrize("spelling", ["jobId", "jobid", "JOBID"])
async def test_a_job_is_found_by_every_spelling(caller: Caller, spelling: str) -> None:
    job = (await caller.upload())["jobId"]

    told = await caller.call("getStatus", **{spelling: job})

    assert (told["jobId"], told["statusJob"]) == (job, "COMPLETED")


async def test_the_result_is_malformed_as_in_the_document(caller: Caller) -> None:
    job = (await caller.upload())["jobId"]

    told = await caller.call("getResult", jobid=job)

    assert told["result"].endswith('"eyeOrNot":"YES"}"lesionBbox":[]')
    assert told["usedBy"] == "demo"
    assert abs(int(told["usedOn"]) / 1e6 - time.time()) < 60


async def test_a_restart_loses_no_job_no_token_and_no_credit(caller: Caller, settings: StandinSettings) -> None:
    await caller.admin("faults", stuck=1)
    job = (await caller.upload())["jobId"]

    async with served(standin(settings)) as url:
        again = Caller(url)
        again.token = caller.token
        told = await again.call("getStatus", jobid=job)
        await again.http.aclose()

    assert told["status"] == 200
    assert told["remaining"] == 2


async def test_an_unknown_job_and_a_revoked_token_are_refused(caller: Caller) -> None:
    assert (await caller.call("getStatus", jobid="nobody"))["status"] == 411
    await caller.admin("account", revoke_tokens=True)
    assert "token" in (await caller.upload())["message"]


@pytest.mark.parametrize(("fault", "taken"), [("drop_before", 0), ("drop_after", 1)])
async def test_a_connection_is_cut_before_or_after_the_job_was_taken(caller: Caller, fault: str, taken: int) -> None:
    await caller.admin("faults", **{fault: 1})

    with pytest.raises(httpx.RemoteProtocolError):
        await caller.upload()

    assert (await caller.http.get("/admin/counts")).json()["uploads"] == taken


async def test_a_job_is_taken_and_its_caller_hears_nothing(caller: Caller) -> None:
    await caller.admin("faults", silent_after=1)

    with pytest.raises(httpx.ReadTimeout):
        await caller.http.post(
            "/v1/doAnalysis",
            data={"token": caller.token, "image": in_base64(PICTURE)},
            timeout=httpx.Timeout(5, read=0.2),
        )

    assert (await caller.http.get("/admin/counts")).json()["uploads"] == 1
    assert (await caller.upload())["status"] == 200


@pytest.mark.parametrize(("fault", "state"), [("hold", "HOLD"), ("stuck", "QUEUED"), ("fail", "ERROR")])
async def test_the_next_job_ends_as_it_was_told_to(caller: Caller, fault: str, state: str) -> None:
    await caller.admin("faults", **{fault: 1})
    job = (await caller.upload())["jobId"]

    assert (await caller.call("getStatus", jobid=job))["statusJob"] == state


async def test_a_failed_job_says_so_in_the_documents_words(caller: Caller) -> None:
    await caller.admin("faults", fail=1)
    job = (await caller.upload())["jobId"]

    told = await caller.call("getResult", jobid=job)

    assert (told["statusJob"], told["message"]) == ("ERROR", "LC-ERR-0035 : Please contact Leben Care Support Team.")
    assert "result" not in told


async def test_errors_come_in_the_body_or_as_http(caller: Caller) -> None:
    await caller.admin("faults", error=1, endpoints=["getStatus"])
    assert (await caller.call("getStatus", jobid="x"))["status"] == 500
    await caller.admin("faults", unavailable=1, endpoints=["getStatus"])
    assert (await caller.http.post("/v1/getStatus", data={})).status_code == 503


async def test_a_fault_that_nobody_knows_is_refused(caller: Caller) -> None:
    assert (await caller.http.post("/admin/faults", json={"flood": 1})).status_code == 422


async def test_a_result_is_chosen_for_a_picture(caller: Caller) -> None:
    import hashlib

    await caller.admin("results", sha256=hashlib.sha256(PICTURE).hexdigest(), result='{"eyeOrNot":"NO"}')
    job = (await caller.upload())["jobId"]

    assert (await caller.call("getResult", jobid=job))["result"] == '{"eyeOrNot":"NO"}'


async def test_the_page_says_that_it_is_no_medical_device(caller: Caller) -> None:
    assert "No medical device" in (await caller.http.get("/")).text


@pytest.mark.slow
async def test_pictures_are_looked_at_in_another_process(tmp_path: Path) -> None:
    settings = StandinSettings(state=tmp_path / "s.sqlite")
    grey = io.BytesIO()
    Image.new("RGB", (1280, 1024), (90, 90, 90)).save(grey, "JPEG")
    async with served(standin(settings)) as url:
        caller = Caller(url)
        await caller.log_in()
        broken = (await caller.upload(PICTURE[:2000]))["jobId"]
        plain = (await caller.upload(grey.getvalue()))["jobId"]
        states = {}
        while len(states) < 2:
            for job in (broken, plain):
                told = await caller.call("getStatus", jobid=job)
                if told["statusJob"] != "QUEUED":
                    states[job] = told["statusJob"]
        result = await caller.call("getResult", jobid=plain)
        await caller.http.aclose()

    assert states == {broken: "ERROR", plain: "COMPLETED"}
    assert '"eyeOrNot":"NO"' in result["result"]
