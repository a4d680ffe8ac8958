"""What the journey may rely on, shown for the fake and for the real adapter against the stand-in over real HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Protocol

import httpx
import pytest
from pydantic import SecretStr
from tests.fakes.analyser import NOT_UNDERSTOOD, FakeAnalyser, Fault, TokensInMemory
from tests.fakes.analyser import upload as hand_in
from tests.serving import served

from fundus_relay.adapters.analyser.netra import NetraAnalyser
from fundus_relay.adapters.analyser.token_row import TokenRow
from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.pool import Pool, open_pool
from fundus_relay.domain.analysis import AnalysisFailed, Graded, Lesion, NotFundus, Ungradable
from fundus_relay.domain.errors import (
    AnalyserRefused,
    AnalyserUnavailable,
    AnswerNotUnderstood,
    CredentialsRefused,
    CreditsExhausted,
    StoreUnavailable,
    UploadAmbiguous,
)
from fundus_relay.domain.geometry import Box
from fundus_relay.pipeline.ports import Analyser
from fundus_relay.settings import NetraAccount
from fundus_relay.standin.app import standin
from fundus_relay.standin.settings import StandinSettings

PICTURE = b"\xff\xd8\xff a picture"
ANOTHER = b"\x89PNG\r\n\x1a\n another picture"

WORDS = {"drYes": "Detected", "referrableDR": "YES", "imageQuality": "Gradable Image", "eyeOrNot": "YES"}
BOXES = [
    {"bbox": "[959,729,1042,812]", "lesionType": "Deep Hemorrhage"},
    {"bbox": "[795,850,870,932]", "lesionType": "Hard Exudate"},
]
LESIONS = (
    Lesion("Deep Hemorrhage", Box(959, 729, 1042, 812), "[959,729,1042,812]"),
    Lesion("Hard Exudate", Box(795, 850, 870, 932), "[795,850,870,932]"),
)


WORDS_FOR = {
    Fault.REQUEST_LOST: "drop_before",
    Fault.ANSWER_LOST: "drop_after",
    Fault.HOLD: "hold",
    Fault.STUCK: "stuck",
    Fault.FAILED: "fail",
}
"""The stand-in's names of the faults."""


class OtherSide(Protocol):
    """An analyser, and what a test tells the party behind it."""

    analyser: Analyser

    async def strike(self, fault: Fault) -> None: ...

    async def set_credits(self, credits: int) -> None: ...

    async def be_unavailable(self) -> None:
        """For one call."""
        ...

    async def forget_tokens(self) -> None: ...

    async def conclude(self, picture: bytes, words: dict[str, str], boxes: list[dict[str, str]]) -> None: ...

    async def times_paid(self, picture: bytes) -> int: ...

    async def go_away(self) -> None:
        """For good."""
        ...


class FakeSide:
    def __init__(self) -> None:
        self.analyser = FakeAnalyser()

    async def strike(self, fault: Fault) -> None:
        self.analyser.strike(fault)

    async def set_credits(self, credits: int) -> None:
        self.analyser.remaining = credits

    async def be_unavailable(self) -> None:
        self.analyser.unavailable_for = 1

    async def forget_tokens(self) -> None:
        pass  # it has none

    async def conclude(self, picture: bytes, words: dict[str, str], boxes: list[dict[str, str]]) -> None:
        if words["eyeOrNot"] == "NO":
            self.analyser.conclude(picture, NotFundus(words))
        elif words["imageQuality"] == "Ungradable Image":
            self.analyser.conclude(picture, Ungradable(words))
        elif words["drYes"] not in ("Detected", "Not Detected"):
            self.analyser.conclude(picture, NOT_UNDERSTOOD)
        else:
            self.analyser.conclude(picture, Graded(True, True, LESIONS, words))

    async def times_paid(self, picture: bytes) -> int:
        return self.analyser.times_asked(picture)

    async def go_away(self) -> None:
        self.analyser.is_reachable = False


class StandinSide:
    """The stand-in behind a socket, asked by the real adapter."""

    def __init__(self, url: str, serving: AsyncExitStack, admin: httpx.AsyncClient) -> None:
        self.account = an_account(url)
        self.analyser = NetraAnalyser(self.account, TokensInMemory(), SystemClock())
        self._serving = serving
        self._admin = admin

    async def strike(self, fault: Fault) -> None:
        await self._tell("faults", {WORDS_FOR[fault]: 1})

    async def set_credits(self, credits: int) -> None:
        await self._tell("account", {"credits": credits})

    async def be_unavailable(self) -> None:
        await self.analyser.credits()  # so that the fault hits what comes, not the token's call
        await self._tell("faults", {"unavailable": 1})

    async def forget_tokens(self) -> None:
        await self._tell("account", {"revoke_tokens": True})

    async def conclude(self, picture: bytes, words: dict[str, str], boxes: list[dict[str, str]]) -> None:
        result = f'{json.dumps(words)}"lesionBbox":{json.dumps(boxes)}'
        await self._tell("results", {"sha256": hashlib.sha256(picture).hexdigest(), "result": result})

    async def times_paid(self, picture: bytes) -> int:
        counts = (await self._admin.get("/admin/counts")).json()
        return int(counts["by_sha256"].get(hashlib.sha256(picture).hexdigest(), 0))

    async def token_requests(self) -> int:
        return int((await self._admin.get("/admin/counts")).json()["token_requests"])

    async def go_away(self) -> None:
        await self._serving.aclose()

    async def _tell(self, what: str, said: dict[str, Any]) -> None:  # Any: JSON
        (await self._admin.post(f"/admin/{what}", json=said)).raise_for_status()


def an_account(url: str, **fields: Any) -> NetraAccount:  # Any: a subset of the account's settings
    return NetraAccount(
        **{
            "base_url": f"{url}/v1",
            "username": "demo",
            "password": SecretStr("demo"),
            "concurrency": 64,
            "answer_timeout": timedelta(seconds=10),
            **fields,
        }
    )


@pytest.fixture
async def netra() -> AsyncIterator[StandinSide]:
    async with AsyncExitStack() as stack:
        serving = await stack.enter_async_context(AsyncExitStack())
        url = await serving.enter_async_context(served(standin(StandinSettings(analyser="instant"))))
        admin = await stack.enter_async_context(httpx.AsyncClient(base_url=url, trust_env=False))
        side = StandinSide(url, serving, admin)
        await stack.enter_async_context(side.analyser)
        yield side


@pytest.fixture(params=["fake", "netra"])
def side(request: pytest.FixtureRequest) -> OtherSide:
    if request.param == "fake":
        return FakeSide()
    found: OtherSide = request.getfixturevalue("netra")
    return found


async def upload(side: OtherSide, picture: bytes = PICTURE) -> str:
    return (await hand_in(side.analyser, picture)).job_id


async def ended(analyser: Analyser, job_id: str) -> str:
    """Its state, once it is no longer queued; the answer of each question is the wait."""
    for _ in range(500):
        literal = (await analyser.status(job_id)).literal
        if literal != "QUEUED":
            return literal
    raise AssertionError("the job never ended")


async def test_an_upload_costs_one_credit_and_says_how_many_remain(side: OtherSide) -> None:
    before = await side.analyser.credits()

    taken = await hand_in(side.analyser, PICTURE)

    assert before is not None
    assert taken.remaining == before - 1 == await side.analyser.credits()


async def test_equal_pictures_are_paid_each_time(side: OtherSide) -> None:
    jobs = {await upload(side), await upload(side), await upload(side, ANOTHER)}

    assert len(jobs) == 3
    assert (await side.times_paid(PICTURE), await side.times_paid(ANOTHER)) == (2, 1)


async def test_a_job_that_ended_has_the_result_of_its_picture(side: OtherSide) -> None:
    await side.conclude(PICTURE, WORDS, BOXES)
    job_id, another = await upload(side), await upload(side, ANOTHER)

    assert (await ended(side.analyser, job_id), await ended(side.analyser, another)) == ("COMPLETED", "COMPLETED")
    answer = await side.analyser.result(job_id)
    assert answer.analysis == Graded(True, True, LESIONS, WORDS)
    assert answer.used_on is not None
    assert answer.is_standin
    normal = (await side.analyser.result(another)).analysis
    assert isinstance(normal, Graded)
    assert (normal.has_retinopathy, normal.is_referable, normal.lesions) == (False, False, ())


@pytest.mark.parametrize(
    ("said", "kind"), [({"imageQuality": "Ungradable Image"}, Ungradable), ({"eyeOrNot": "NO"}, NotFundus)]
)
async def test_what_cannot_be_judged_has_no_verdict(side: OtherSide, said: dict[str, str], kind: type) -> None:
    await side.conclude(PICTURE, {**WORDS, **said}, [])
    job_id = await upload(side)
    await ended(side.analyser, job_id)

    assert isinstance((await side.analyser.result(job_id)).analysis, kind)


async def test_a_word_that_nobody_knows_is_no_result(side: OtherSide) -> None:
    await side.conclude(PICTURE, {**WORDS, "drYes": "Perhaps"}, [])
    job_id = await upload(side)
    await ended(side.analyser, job_id)

    with pytest.raises(AnswerNotUnderstood, match="drYes"):
        await side.analyser.result(job_id)


async def test_a_job_may_end_with_an_error(side: OtherSide) -> None:
    await side.strike(Fault.FAILED)
    job_id = await upload(side)

    assert await ended(side.analyser, job_id) == "ERROR"
    assert (await side.analyser.result(job_id)).analysis == AnalysisFailed("LC-ERR-0035")


async def test_a_job_may_be_held(side: OtherSide) -> None:
    await side.strike(Fault.HOLD)

    assert await ended(side.analyser, await upload(side)) == "HOLD"


async def test_the_result_of_a_job_that_has_not_ended_is_asked_for_later(side: OtherSide) -> None:
    await side.strike(Fault.STUCK)
    job_id = await upload(side)

    assert (await side.analyser.status(job_id)).literal == "QUEUED"
    with pytest.raises(AnalyserUnavailable):
        await side.analyser.result(job_id)


async def test_a_job_that_the_analyser_does_not_know_is_refused(side: OtherSide) -> None:
    with pytest.raises(AnalyserRefused):
        await side.analyser.status("no such job")
    with pytest.raises(AnalyserRefused):
        await side.analyser.result("no such job")


@pytest.mark.parametrize(
    ("picture", "code"), [(b"GIF89a", "LC-ERR-0034"), (PICTURE + bytes(5 * 1024 * 1024), "LC-ERR-0033")]
)
async def test_a_picture_that_is_not_taken_is_not_paid(side: OtherSide, picture: bytes, code: str) -> None:
    before = await side.analyser.credits()

    with pytest.raises(AnalyserRefused, match=code):
        await upload(side, picture)

    assert await side.analyser.credits() == before


async def test_without_credits_nothing_is_taken(side: OtherSide) -> None:
    await side.set_credits(0)

    with pytest.raises(CreditsExhausted):
        await upload(side)

    assert await side.times_paid(PICTURE) == 0


async def test_credits_that_were_bought_are_counted_when_asked_for_and_can_be_spent(side: OtherSide) -> None:
    await side.set_credits(0)
    with pytest.raises(CreditsExhausted):
        await upload(side)
    assert await side.analyser.credits() == 0

    await side.set_credits(7)

    assert await side.analyser.credits() == 7
    await upload(side)
    assert await side.analyser.credits() == 6


@pytest.mark.parametrize(("fault", "paid"), [(Fault.REQUEST_LOST, 0), (Fault.ANSWER_LOST, 1)])
async def test_an_upload_without_an_answer_is_ambiguous_and_the_credits_tell(
    side: OtherSide, fault: Fault, paid: int
) -> None:
    before = await side.analyser.credits()
    await side.strike(fault)

    with pytest.raises(UploadAmbiguous):
        await upload(side)

    assert before is not None
    assert await side.analyser.credits() == before - paid
    assert await side.times_paid(PICTURE) == paid


async def test_a_passing_fault_says_when_to_come_again(side: OtherSide) -> None:
    job_id = await upload(side)
    await side.be_unavailable()

    with pytest.raises(AnalyserUnavailable) as unavailable:
        await side.analyser.status(job_id)

    assert unavailable.value.retry_after == timedelta(seconds=1)
    assert (await ended(side.analyser, job_id)) == "COMPLETED"


async def test_forgotten_tokens_cost_nothing_and_lose_nothing(side: OtherSide) -> None:
    job_id = await upload(side)
    await side.forget_tokens()

    assert await upload(side, ANOTHER) != job_id
    await side.forget_tokens()
    assert await ended(side.analyser, job_id) == "COMPLETED"
    assert await side.times_paid(ANOTHER) == 1


async def test_an_analyser_out_of_reach_takes_nothing_for_certain(side: OtherSide) -> None:
    await upload(side)
    await side.go_away()

    with pytest.raises(AnalyserUnavailable):
        await upload(side)
    with pytest.raises(AnalyserUnavailable):
        await side.analyser.status("any")
    with pytest.raises(AnalyserUnavailable):
        await side.analyser.credits()


# ------------------------------------------------------------------------------------------- the real adapter alone


@pytest.mark.parametrize("results", ["document", "well-formed", "typographic"])
@pytest.mark.parametrize("status_shape", ["statusJob", "status"])
async def test_every_shape_of_the_standin_is_read(
    results: Any, status_shape: Any
) -> None:  # Any: literals of its settings
    settings = StandinSettings(analyser="instant", results=results, status_shape=status_shape)
    async with (
        served(standin(settings)) as url,
        NetraAnalyser(an_account(url), TokensInMemory(), SystemClock()) as analyser,
    ):
        job_id = (await hand_in(analyser, PICTURE)).job_id
        assert await ended(analyser, job_id) == "COMPLETED"
        analysis = (await analyser.result(job_id)).analysis

    assert isinstance(analysis, Graded)
    assert (analysis.has_retinopathy, analysis.is_referable, analysis.lesions) == (False, False, ())


async def test_many_calls_of_two_processes_on_a_forgotten_token_ask_for_one(
    netra: StandinSide, pool: Pool, database_url: str
) -> None:
    job_id = await upload(netra)
    async with (
        open_pool(database_url, size=4) as other_pool,
        NetraAnalyser(netra.account, TokenRow(pool), SystemClock()) as one,
        NetraAnalyser(netra.account, TokenRow(other_pool), SystemClock()) as other,
    ):
        await asyncio.gather(one.status(job_id), other.status(job_id))
        await netra.forget_tokens()
        before = await netra.token_requests()

        await asyncio.gather(*(each.status(job_id) for each in (one, other) for _ in range(32)))

    assert await netra.token_requests() == before + 1


async def test_a_token_outlives_the_process_that_asked_for_it(netra: StandinSide, pool: Pool) -> None:
    job_id = await upload(netra)
    async with NetraAnalyser(netra.account, TokenRow(pool), SystemClock()) as one:
        await one.status(job_id)
    before = await netra.token_requests()

    async with NetraAnalyser(netra.account, TokenRow(pool), SystemClock()) as another:
        await another.status(job_id)

    assert await netra.token_requests() == before


async def test_the_row_serves_any_number_of_turns(netra: StandinSide, pool: Pool) -> None:
    async with NetraAnalyser(netra.account, TokenRow(pool), SystemClock()) as analyser:
        counts = [await analyser.credits() for _ in range(12)]

    assert counts == [1000] * 12


async def test_the_operator_sees_the_credits_that_came_with_the_token(
    netra: StandinSide, pool: Pool, ledger: PostgresLedger
) -> None:
    await netra.set_credits(77)
    async with NetraAnalyser(netra.account, TokenRow(pool), SystemClock()) as analyser:
        await analyser.credits()

    census = await ledger.census()

    assert census.credits == 77
    assert census.credits_at is not None


async def test_a_row_that_is_out_of_reach_keeps_the_upload_here(netra: StandinSide, pool: Pool) -> None:
    await pool.close()

    async with NetraAnalyser(netra.account, TokenRow(pool), SystemClock()) as analyser:
        with pytest.raises(StoreUnavailable):
            await hand_in(analyser, PICTURE)

    assert await netra.times_paid(PICTURE) == 0


async def test_a_wrong_password_is_not_tried_again_and_again(netra: StandinSide) -> None:
    wrong = netra.account.model_copy(update={"password": SecretStr("wrong")})

    async with NetraAnalyser(wrong, TokensInMemory(), SystemClock()) as stranger:
        with pytest.raises(CredentialsRefused):
            await hand_in(stranger, PICTURE)
        await netra.go_away()
        with pytest.raises(CredentialsRefused):
            await hand_in(stranger, PICTURE)
