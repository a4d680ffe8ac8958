"""What every EHR that gets reports promises; and how the real adapter holds on to it over real HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from pydantic import SecretStr
from tests.fakes.health_record import FakeHealthRecord
from tests.golden.stories import (
    ISSUED,
    LEFT,
    REFERABLE,
    RIGHT,
    STORIES,
    UNGRADABLE,
    Story,
    a_study,
    an_image,
    page_bytes,
)
from tests.serving import served

from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.bounded import retry_after
from fundus_relay.adapters.health_record.answers import check, moment
from fundus_relay.adapters.health_record.transaction import FhirTransactionRecord
from fundus_relay.demonstration.ehr import demonstration_ehr
from fundus_relay.domain.errors import RecordCredentialsRefused, RecordRefused, RecordUnavailable
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.packed import Packed
from fundus_relay.domain.values import Json, Pages, Written
from fundus_relay.fhir.earlier import earlier_of
from fundus_relay.fhir.pages import is_overlay
from fundus_relay.pipeline.ports import HealthRecord
from fundus_relay.settings import Destination

LATER = ISSUED + timedelta(minutes=10)
EVEN_LATER = ISSUED + timedelta(minutes=20)
ONE_EYE = Story(a_study(), [an_image(1, RIGHT)])
BOTH_EYES = Story(a_study(), [an_image(1, RIGHT), an_image(2, LEFT, analysis=REFERABLE)])

FIRST = ONE_EYE.linked()
SECOND = BOTH_EYES.linked(revision=2, issued=LATER)


def expected(*publications: Sequence[Json]) -> Counter[str]:
    """What an EHR holds, by type, when each of these was published, the same things once."""
    things = {(each["resourceType"], each["id"]) for resources in publications for each in resources}
    return Counter(kind for kind, _ in things)


async def until_written(record: HealthRecord, resources: Sequence[Json], *, revision: int) -> Written:
    """As the engine does it: an EHR may refuse those that lose a race, and they come again."""
    for _ in range(30):
        try:
            return await record.publish(resources, revision=revision)
        except RecordUnavailable:
            continue
    return await record.publish(resources, revision=revision)


class OtherSide(Protocol):
    """A health record, and what a test tells the EHR behind it."""

    record: HealthRecord

    async def counts(self) -> Counter[str]: ...

    async def held(self, kind: str) -> list[Json]: ...

    async def sign(self) -> None: ...

    async def be_unavailable(self) -> None:
        """For one call; says to come again after 7 seconds."""
        ...

    async def lose_an_answer(self) -> None: ...

    async def drop_an_observation(self) -> None: ...


class FakeSide:
    def __init__(self) -> None:
        self.fake = FakeHealthRecord()
        self.record: HealthRecord = self.fake

    async def counts(self) -> Counter[str]:
        return self.fake.counts()

    async def held(self, kind: str) -> list[Json]:
        return [each for each in self.fake.held.values() if each["resourceType"] == kind]

    async def sign(self) -> None:
        self.fake.sign()

    async def be_unavailable(self) -> None:
        self.fake.unavailable_for = 1

    async def lose_an_answer(self) -> None:
        self.fake.answers_to_lose = 1

    async def drop_an_observation(self) -> None:
        self.fake.observations_to_drop = 1


class EhrSide:
    """The demonstration EHR behind a socket, written to by the real adapter."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url
        self.client = client
        self.blobs = DirectoryBlobs(Path(tempfile.mkdtemp()))
        self.record: HealthRecord = self.taking()

    def taking(self, **settings: Any) -> FhirTransactionRecord:  # Any: of a destination
        """The adapter, set up for an EHR that takes things so."""
        return FhirTransactionRecord(Destination(base_url=f"{self.url}/fhir", **settings), self.client, self.blobs)

    async def keep_pages(self, story: Story) -> None:
        """Put into our store what a story's report refers to."""
        for number in (99, *range(len(story.images))):
            await self.blobs.put(page_bytes(number))

    async def file_of(self, attachment: Json) -> bytes | None:
        """What an attachment at the EHR shows to who looks at it there; None when it leads to us."""
        if "data" in attachment:
            return b64decode(attachment["data"])
        place = attachment["url"].removeprefix(f"{self.url}/fhir/")
        if not place.startswith("Binary/"):
            return None
        answer = await self.client.get(f"{self.url}/fhir/{place}", headers={"Accept": "application/fhir+json"})
        return b64decode(answer.json()["data"])

    async def counts(self) -> Counter[str]:
        """Without the two patients that it begins with."""
        return Counter((await self.client.get(f"{self.url}/admin/counts")).json()) - Counter(Patient=2)

    async def held(self, kind: str) -> list[Json]:
        found = (await self.client.get(f"{self.url}/fhir/{kind}", params={"_count": "500"})).json()
        return [entry["resource"] for entry in found.get("entry", [])]

    async def sign(self) -> None:
        for report in await self.held("DiagnosticReport"):
            await self.put({**report, "status": "final"})

    async def put(self, resource: Json) -> None:
        url = f"{self.url}/fhir/{resource['resourceType']}/{resource['id']}"
        (await self.client.put(url, json=resource)).raise_for_status()

    async def be_unavailable(self) -> None:
        await self.fail(unavailable=1, retry_after=7)

    async def lose_an_answer(self) -> None:
        await self.fail(lose_answer=1)

    async def drop_an_observation(self) -> None:
        await self.fail(drop_observation=1)

    async def fail(self, **faults: Any) -> None:
        await self.client.post(f"{self.url}/admin/faults", json=faults)


@pytest.fixture
async def ehr() -> AsyncIterator[EhrSide]:
    async with served(demonstration_ehr()) as url, httpx.AsyncClient(trust_env=False, timeout=20) as client:
        yield EhrSide(url, client)


@pytest.fixture(params=["fake", "transaction"])
def side(request: pytest.FixtureRequest) -> OtherSide:
    return FakeSide() if request.param == "fake" else request.getfixturevalue("ehr")


# ----------------------------------------------------------------------------------------------------------- contract


async def test_a_report_arrives_whole(side: OtherSide) -> None:
    written = await side.record.publish(FIRST, revision=1)

    assert not written.superseded
    assert await side.counts() == expected(FIRST)


async def test_publishing_twice_is_publishing_once(side: OtherSide) -> None:
    first = await side.record.publish(FIRST, revision=1)
    second = await side.record.publish(FIRST, revision=1)

    assert first == second
    assert await side.counts() == expected(FIRST)


async def test_eight_at_once_are_one(side: OtherSide) -> None:
    await asyncio.gather(*(until_written(side.record, SECOND, revision=2) for _ in range(8)))

    assert await side.counts() == expected(SECOND)


async def test_a_later_revision_updates_the_report_and_adds_its_provenance(side: OtherSide) -> None:
    first = await side.record.publish(FIRST, revision=1)
    second = await side.record.publish(SECOND, revision=2)

    assert first.remote_id == second.remote_id
    assert await side.counts() == expected(FIRST, SECOND)
    (report,) = await side.held("DiagnosticReport")
    assert moment(report["issued"]) == LATER
    assert len(report["result"]) == len(SECOND[0]["result"])


async def test_a_revision_that_comes_too_late_changes_nothing(side: OtherSide) -> None:
    await side.record.publish(SECOND, revision=2)
    before = await side.held("Observation")

    written = await side.record.publish(FIRST, revision=1)

    assert written.superseded
    assert await side.held("Observation") == before
    assert (await side.counts())["Provenance"] == 1


async def test_what_a_person_signed_stays_as_it_is(side: OtherSide) -> None:
    await side.record.publish(FIRST, revision=1)
    await side.sign()
    before = await side.held("DiagnosticReport")

    with pytest.raises(RecordRefused, match="report-signed"):
        await side.record.publish(SECOND, revision=2)

    assert await side.held("DiagnosticReport") == before
    assert await side.counts() == expected(FIRST)


async def test_a_signed_report_that_had_arrived_is_confirmed(side: OtherSide) -> None:
    await side.record.publish(FIRST, revision=1)
    await side.sign()

    assert not (await side.record.publish(FIRST, revision=1)).superseded


async def test_an_answer_that_got_lost_is_found_by_the_next_try(side: OtherSide) -> None:
    await side.lose_an_answer()
    with pytest.raises(RecordUnavailable):
        await side.record.publish(FIRST, revision=1)

    await side.record.publish(FIRST, revision=1)

    assert await side.counts() == expected(FIRST)


async def test_what_did_not_arrive_whole_is_not_confirmed_and_the_next_try_heals_it(side: OtherSide) -> None:
    await side.drop_an_observation()
    with pytest.raises(RecordUnavailable, match="read-back"):
        await side.record.publish(FIRST, revision=1)

    await side.record.publish(FIRST, revision=1)

    assert await side.counts() == expected(FIRST)


async def test_an_ehr_that_is_busy_says_when_to_come_again(side: OtherSide) -> None:
    await side.be_unavailable()

    with pytest.raises(RecordUnavailable) as busy:
        await side.record.publish(FIRST, revision=1)

    assert busy.value.retry_after == timedelta(seconds=7)
    assert await side.counts() == Counter()


async def test_what_a_later_revision_no_longer_says_does_not_stay_behind(side: OtherSide) -> None:
    await side.record.publish(FIRST, revision=1)
    corrected = Story(a_study(), [an_image(1, LEFT)]).linked(revision=2, issued=LATER)

    await side.record.publish(corrected, revision=2)

    panels = [each for each in await side.held("Observation") if "hasMember" in each]
    assert {each["bodySite"]["text"]: each["status"] for each in panels} == {
        "Right eye": "entered-in-error",
        "Left eye": "preliminary",
    }


# ------------------------------------------------------------------------------------------------- over real HTTP


async def test_references_at_the_ehr_lead_to_what_the_ehr_stored(ehr: EhrSide) -> None:
    await ehr.record.publish(SECOND, revision=2)

    (report,) = await ehr.held("DiagnosticReport")
    results = {f"Observation/{each['id']}" for each in await ehr.held("Observation")}
    assert {each["reference"] for each in report["result"]} == results
    (provenance,) = await ehr.held("Provenance")
    drawn = {f"Media/{each['id']}" for each in await ehr.held("Media") if is_overlay(each)}
    told = results | drawn | {f"DiagnosticReport/{report['id']}"}
    assert {each["reference"] for each in provenance["target"]} == told


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Observation", {"issued": LATER.isoformat()}),
        ("Observation", {"subject": {"reference": "Patient/second-patient"}}),
        ("DiagnosticReport", {"result": []}),
    ],
    ids=["of-another-moment", "of-another-patient", "without-results"],
)
async def test_what_is_not_as_it_was_written_is_not_confirmed_but_written_again(
    ehr: EhrSide, kind: str, change: Json
) -> None:
    await ehr.record.publish(FIRST, revision=1)
    before = (await ehr.held(kind))[0]
    await ehr.put({**before, **change})

    await ehr.record.publish(FIRST, revision=1)

    (after,) = [each for each in await ehr.held(kind) if each["id"] == before["id"]]
    assert {**after, "meta": None} == {**before, "meta": None}
    assert await ehr.counts() == expected(FIRST)


async def test_a_read_back_says_what_is_missing(ehr: EhrSide) -> None:
    await ehr.drop_an_observation()

    with pytest.raises(RecordUnavailable, match="read-back: an Observation is missing"):
        await ehr.record.publish(FIRST, revision=1)


async def test_an_eye_that_is_corrected_back_is_said_again(ehr: EhrSide) -> None:
    eyes: Sequence[Laterality] = (RIGHT, LEFT, RIGHT)
    for revision, eye in enumerate(eyes, start=1):
        story = Story(a_study(), [an_image(1, eye)])
        told = story.linked(revision=revision, issued=ISSUED + timedelta(hours=revision))
        await ehr.record.publish(told, revision=revision)

    panels = [each for each in await ehr.held("Observation") if "hasMember" in each]
    assert {each["bodySite"]["text"]: each["status"] for each in panels} == {
        "Right eye": "preliminary",
        "Left eye": "entered-in-error",
    }


async def test_an_observation_that_a_person_marked_as_wrong_is_not_brought_back(ehr: EhrSide) -> None:
    await ehr.record.publish(FIRST, revision=1)
    observation = (await ehr.held("Observation"))[0]
    await ehr.put({**observation, "status": "entered-in-error"})

    with pytest.raises(RecordRefused, match=f"report-signed: Observation/{observation['id']}"):
        await ehr.record.publish(SECOND, revision=2)


async def test_a_device_that_the_ehr_knows_is_not_written_again(ehr: EhrSide) -> None:
    await ehr.record.publish(FIRST, revision=1)
    for device in await ehr.held("Device"):
        await ehr.put({**device, "location": {"display": "put in by hand"}})

    await ehr.record.publish(SECOND, revision=2)

    assert all("location" in device for device in await ehr.held("Device"))


async def test_eight_reports_at_once_share_their_devices(ehr: EhrSide) -> None:
    reports = [Story(a_study(key=f"study {number}"), [an_image()]).linked() for number in range(8)]

    await asyncio.gather(*(until_written(ehr.record, each, revision=1) for each in reports))

    assert (await ehr.counts())["DiagnosticReport"] == 8
    assert (await ehr.counts())["Device"] == 2


async def test_a_patient_known_by_identifier_is_found_and_none_is_made(ehr: EhrSide) -> None:
    subject = {"reference": "Patient?identifier=urn%3Afundus-relay%3Ademo%7Csecond-patient"}
    story = Story(a_study(subject=subject), [an_image()])

    await ehr.record.publish(story.linked(), revision=1)

    (report,) = await ehr.held("DiagnosticReport")
    assert report["subject"]["reference"] == "Patient/second-patient"
    assert (await ehr.counts())["Patient"] == 0


async def test_a_patient_that_the_ehr_does_not_know_is_refused_without_saying_who(ehr: EhrSide) -> None:
    story = Story(a_study(subject={"reference": "Patient/maria-mustermann"}), [an_image()])

    with pytest.raises(RecordRefused) as refused:
        await ehr.record.publish(story.linked(), revision=1)

    assert "HAPI-1094" in str(refused.value)
    assert "mustermann" not in str(refused.value)
    assert await ehr.counts() == Counter()


async def test_a_reference_by_the_ehrs_own_address_becomes_relative(ehr: EhrSide) -> None:
    story = Story(a_study(subject={"reference": f"{ehr.url}/fhir/Patient/demo-patient"}), [an_image()])

    await ehr.record.publish(story.linked(), revision=1)

    (report,) = await ehr.held("DiagnosticReport")
    assert report["subject"]["reference"] == "Patient/demo-patient"


async def test_two_of_one_thing_at_the_ehr_are_shown_to_a_person(ehr: EhrSide) -> None:
    double = {key: value for key, value in FIRST[1].items() if key in {"resourceType", "identifier", "status", "code"}}
    for id in ("one", "other"):
        await ehr.put({**double, "id": id})

    with pytest.raises(RecordRefused, match=f"duplicate-at-ehr: .*{FIRST[1]['identifier'][0]['value']}"):
        await ehr.record.publish(FIRST, revision=1)


async def test_the_loser_of_a_race_comes_again(ehr: EhrSide) -> None:
    await ehr.fail(conflict=1)
    with pytest.raises(RecordUnavailable, match="409 processing HAPI-2745"):
        await ehr.record.publish(FIRST, revision=1)

    await ehr.record.publish(FIRST, revision=1)

    assert await ehr.counts() == expected(FIRST)


async def test_a_condition_that_fails_while_nothing_changed_is_shown_to_a_person(ehr: EhrSide) -> None:
    await ehr.fail(precondition=1)

    with pytest.raises(RecordRefused, match="412 processing HAPI-0958"):
        await ehr.record.publish(FIRST, revision=1)


async def test_an_ehr_that_does_not_take_the_label_says_where(ehr: EhrSide) -> None:
    await ehr.fail(refuse_labels=1)

    with pytest.raises(RecordRefused, match=r"422 processing Bundle\.entry\[0\]\.resource\.meta\.security\[0\]"):
        await ehr.record.publish(FIRST, revision=1)


async def test_an_ehr_that_does_not_take_the_label_gets_reports_without_it(ehr: EhrSide) -> None:
    await ehr.fail(refuse_labels=1)
    record = ehr.taking(ai_label=False)

    await record.publish(FIRST, revision=1)
    await record.publish(SECOND, revision=2)

    assert await ehr.counts() == expected(FIRST, SECOND)
    await ehr.sign()
    with pytest.raises(RecordRefused, match="report-signed"):
        await record.publish(Story(a_study(), [an_image(1, LEFT)]).linked(revision=3, issued=EVEN_LATER), revision=3)


async def test_a_search_is_read_to_its_last_page(ehr: EhrSide) -> None:
    await ehr.record.publish(SECOND, revision=2)
    await ehr.fail(page_size=1)

    await ehr.record.publish(SECOND, revision=2)

    assert await ehr.counts() == expected(SECOND)


async def test_a_large_study_is_searched_in_pieces(ehr: EhrSide) -> None:
    images = [an_image(number, RIGHT, analysis=UNGRADABLE) for number in range(1, 16)]
    told = Story(a_study(), images).linked()

    await ehr.record.publish(told, revision=1)
    await ehr.record.publish(told, revision=1)

    assert await ehr.counts() == expected(told)


async def test_every_story_arrives(ehr: EhrSide) -> None:
    about = {"subject": {"reference": "Patient/second-patient"}}
    await ehr.put({"resourceType": "ServiceRequest", "id": "order-7", "status": "active", "intent": "order", **about})
    await ehr.put({"resourceType": "Encounter", "id": "visit-7", "status": "finished", **about})
    await ehr.put({"resourceType": "ImagingStudy", "id": "study-7", "status": "available", **about})
    known = {"reference": "Patient/second-patient"}
    for name, story in STORIES.items():
        study = replace(story.study, key=name, subject=known)
        await ehr.record.publish(Story(study, story.images).linked(), revision=1)

    assert (await ehr.counts())["DiagnosticReport"] == len(STORIES)


@pytest.mark.parametrize("carriage", ["inline", "binary", "link"])
async def test_pages_for_people_go_along_as_the_ehr_wants_them(ehr: EhrSide, carriage: str) -> None:
    await ehr.keep_pages(BOTH_EYES)
    record = ehr.taking(pdf=carriage, overlays=carriage)

    for _ in range(2):
        await record.publish(BOTH_EYES.told().resources, revision=1)

    (report,) = await ehr.held("DiagnosticReport")
    (form,) = report["presentedForm"]
    drawn = [each for each in await ehr.held("Media") if is_overlay(each)]
    shown = [await ehr.file_of(form), *[await ehr.file_of(each["content"]) for each in drawn]]
    expected = [page_bytes(99), page_bytes(0), page_bytes(1)]
    assert sorted(map(str, shown)) == (["None"] * 3 if carriage == "link" else sorted(map(str, expected)))
    linked = {each["link"]["reference"] for each in report["media"]}
    assert linked == {f"Media/{each['id']}" for each in await ehr.held("Media")}


async def test_pages_of_a_later_revision_take_the_place_of_the_earlier_ones(ehr: EhrSide) -> None:
    await ehr.keep_pages(BOTH_EYES)
    record = ehr.taking(pdf="binary", overlays="inline")
    await record.publish(ONE_EYE.told().resources, revision=1)
    later = BOTH_EYES.told(revision=2, issued=LATER).resources

    for _ in range(2):
        await record.publish(later, revision=2)

    (report,) = await ehr.held("DiagnosticReport")
    assert [each["title"][-10:] for each in report["presentedForm"]] == ["revision 2"]
    assert sum(is_overlay(each) for each in await ehr.held("Media")) == 2


@pytest.mark.parametrize("kind", ["DiagnosticReport", "Media"])
async def test_a_page_that_is_not_as_it_was_written_is_written_again(ehr: EhrSide, kind: str) -> None:
    await ehr.keep_pages(ONE_EYE)
    record = ehr.taking(overlays="inline")
    told = ONE_EYE.told().resources
    await record.publish(told, revision=1)
    before = next(each for each in await ehr.held(kind) if kind == "DiagnosticReport" or is_overlay(each))
    other = {"contentType": "image/jpeg", "data": "AAAA", "title": "another"}
    await ehr.put({**before, **({"presentedForm": [other]} if "presentedForm" in before else {"content": other})})

    await record.publish(told, revision=1)

    (after,) = (each for each in await ehr.held(kind) if each["id"] == before["id"])
    assert {**after, "meta": None} == {**before, "meta": None}


async def test_an_ehr_that_wants_no_pages_gets_none(ehr: EhrSide) -> None:
    await ehr.keep_pages(ONE_EYE)

    await ehr.taking(pdf="none", overlays="none").publish(ONE_EYE.told().resources, revision=1)

    (report,) = await ehr.held("DiagnosticReport")
    assert "presentedForm" not in report
    assert len(report["media"]) == len(await ehr.held("Media")) == 1


# ------------------------------------------------------------------------------------- what cannot be drawn again


def drawn_before(said: Sequence[Json]) -> Sequence[Json]:
    """A second revision, of both eyes, for which the first eye could not be drawn again, nor its page be kept."""
    (right, left), made = BOTH_EYES.images, BOTH_EYES.made
    earlier = earlier_of(right.media_id, Packed.of(said), BOTH_EYES.told().resources)
    assert earlier is not None
    pages = Pages(made.sheet, {left.id: made.overlays[left.id]}, (right.id,), {right.id: earlier})
    return replace(BOTH_EYES, pages=pages).told(revision=2, issued=LATER).resources


async def drawings(ehr: EhrSide) -> list[Json]:
    return [each for each in await ehr.held("Media") if is_overlay(each)]


async def links(ehr: EhrSide) -> set[str]:
    (report,) = await ehr.held("DiagnosticReport")
    return {each["link"]["reference"].removeprefix("Media/") for each in report["media"]}


@pytest.mark.parametrize("carriage", ["inline", "binary", "link"])
async def test_a_drawing_that_is_not_here_any_more_is_left_alone(ehr: EhrSide, carriage: str) -> None:
    await ehr.keep_pages(BOTH_EYES)
    record, first = ehr.taking(pdf=carriage, overlays=carriage), ONE_EYE.told().resources
    await record.publish(first, revision=1)
    (before,) = await drawings(ehr)
    shown = await ehr.file_of(before["content"])

    for _ in range(2):
        await record.publish(drawn_before(first), revision=2)

    assert before in await drawings(ehr)
    assert await ehr.file_of(before["content"]) == shown
    assert await links(ehr) == {each["id"] for each in await ehr.held("Media")}
    assert (await ehr.counts())["Provenance"] == 2


@pytest.mark.parametrize(
    "content",
    [
        {"data": "AAAA"},
        {"url": "https://files.ehr.test/x?signed=9"},
        {"url": "{base}/Binary/{page}"},
        {"url": "{base}/Binary/{page}/_history/1"},
    ],
    ids=["no-hash", "elsewhere", "in-full", "a-version"],
)
async def test_an_ehr_may_show_a_drawing_in_its_own_way(ehr: EhrSide, content: Json) -> None:
    await ehr.keep_pages(BOTH_EYES)
    record, first = ehr.taking(overlays="binary"), ONE_EYE.told().resources
    await record.publish(first, revision=1)
    (before,) = await drawings(ehr)
    page = before["content"]["url"].removeprefix("Binary/")
    told = {name: value.format(base=f"{ehr.url}/fhir", page=page) for name, value in content.items()}
    await ehr.put({**before, "content": {"contentType": "image/jpeg", **told}})

    await record.publish(drawn_before(first), revision=2)

    assert before["id"] in await links(ehr)


@pytest.mark.parametrize("site", [{"text": "OD"}, {"coding": [{"system": "urn:ehr:eyes", "code": "OD"}]}], ids=str)
async def test_an_ehr_may_call_an_eye_by_words_of_its_own(ehr: EhrSide, site: Json) -> None:
    await ehr.keep_pages(BOTH_EYES)
    record, first = ehr.taking(overlays="binary"), ONE_EYE.told().resources
    await record.publish(first, revision=1)
    (before,) = await drawings(ehr)
    await ehr.put({**before, "bodySite": site})

    await record.publish(drawn_before(first), revision=2)

    assert before["id"] in await links(ehr)


async def test_a_drawing_that_leads_to_nothing_at_the_ehr_is_not_referred_to(ehr: EhrSide) -> None:
    await ehr.keep_pages(BOTH_EYES)
    record, first = ehr.taking(overlays="binary"), ONE_EYE.told().resources
    await record.publish(first, revision=1)
    (before,) = await drawings(ehr)
    place = f"{ehr.url}/fhir/{before['content']['url']}"
    await ehr.put({**before, "content": {"contentType": "image/jpeg", "url": place}})
    await ehr.client.delete(place)

    await record.publish(drawn_before(first), revision=2)

    assert before["id"] not in await links(ehr)


@pytest.mark.parametrize("lost", ["Media", "Binary"])
async def test_a_drawing_that_goes_while_a_report_is_written_is_missed(ehr: EhrSide, lost: str) -> None:
    await ehr.keep_pages(BOTH_EYES)
    first = ONE_EYE.told().resources
    await ehr.taking(overlays="binary").publish(first, revision=1)
    (before,) = await drawings(ehr)
    place = f"Media/{before['id']}" if lost == "Media" else before["content"]["url"]

    async def lose(answer: httpx.Response) -> None:
        if answer.request.method == "POST":
            (await ehr.client.delete(f"{ehr.url}/fhir/{place}")).raise_for_status()

    async with httpx.AsyncClient(trust_env=False, timeout=20, event_hooks={"response": [lose]}) as forgetful:
        destination = Destination(base_url=f"{ehr.url}/fhir", overlays="binary")  # type: ignore[arg-type]  # by its name
        with pytest.raises(RecordUnavailable, match="read-back: a picture with boxes is missing"):
            await FhirTransactionRecord(destination, forgetful, ehr.blobs).publish(drawn_before(first), revision=2)
    await ehr.taking(overlays="binary").publish(drawn_before(first), revision=2)

    assert before["id"] not in await links(ehr)
    assert len(await links(ehr)) == 3
    assert [each["status"] for each in await drawings(ehr) if each["id"] == before["id"]] == (
        [] if lost == "Media" else ["entered-in-error"]
    )


async def test_a_signed_report_is_confirmed_whatever_became_of_its_drawing(ehr: EhrSide) -> None:
    await ehr.keep_pages(BOTH_EYES)
    first = ONE_EYE.told().resources
    await ehr.record.publish(first, revision=1)
    (before,) = await drawings(ehr)
    await ehr.record.publish(drawn_before(first), revision=2)
    await ehr.sign()
    await ehr.client.delete(f"{ehr.url}/fhir/Media/{before['id']}")

    assert not (await ehr.record.publish(drawn_before(first), revision=2)).superseded


# ------------------------------------------------------------------------------------------- what else an EHR may do


def an_ehr(answer: Any, **settings: Any) -> FhirTransactionRecord:  # Any: a handler of httpx's transport
    """An EHR that answers everything so."""
    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    destination = Destination(base_url="https://ehr.test/fhir/", bearer_token=SecretStr("s3cret"), **settings)
    return FhirTransactionRecord(destination, client, DirectoryBlobs(Path(tempfile.mkdtemp())))


@pytest.mark.parametrize(
    "failure", [httpx.ConnectError("no"), httpx.ReadTimeout("no"), httpx.RemoteProtocolError("no")], ids=type
)
async def test_an_ehr_out_of_reach_is_tried_again(failure: Exception) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise failure

    with pytest.raises(RecordUnavailable, match=type(failure).__name__):
        await an_ehr(fail).publish(FIRST, revision=1)


async def test_an_answer_without_end_is_not_read_to_the_end() -> None:
    async def much() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 1_000_000

    async def little() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)  # the slow EHR
            yield b" "

    with pytest.raises(RecordUnavailable, match="DecodingError"):
        await an_ehr(lambda _: httpx.Response(200, content=much())).publish(FIRST, revision=1)
    slow = an_ehr(lambda _: httpx.Response(200, content=little()), timeout=timedelta(milliseconds=50))
    with pytest.raises(RecordUnavailable, match="TimeoutError"):
        await slow.publish(FIRST, revision=1)


def a_searchset(**resource: Any) -> str:
    return json.dumps(
        {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "DiagnosticReport", **resource}}]}
    )


@pytest.mark.parametrize(
    "body",
    [
        "<html>login</html>",
        "[]",
        '{"resourceType": "OperationOutcome"}',
        "[" * 200_000,
        '{"resourceType": "Bundle", "entry": [{"resource": {"id": "1"}}]}',
        '{"resourceType": "Bundle", "entry": ["1"]}',
        '{"resourceType": "Bundle", "entry": {}}',
        '{"resourceType": "Bundle", "link": ["1"]}',
        a_searchset(id=1),
        a_searchset(id="1", identifier="x"),
        a_searchset(id="1", identifier=[{"system": {}}]),
        a_searchset(id="1", result=["x"]),
        a_searchset(id="1", subject="x"),
        a_searchset(id="1", meta=[]),
        a_searchset(id="1", status=None),
        a_searchset(id="1", text={"div": 1}),
    ],
    ids=lambda body: body[:60],
)
async def test_an_answer_that_is_no_searchset_is_not_taken_for_nothing_found(body: str) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        return httpx.Response(200, text=body)

    with pytest.raises(RecordUnavailable):
        await an_ehr(answer).publish(FIRST, revision=1)
    assert "POST" not in asked


async def test_the_token_is_not_carried_to_where_a_search_may_lead() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        assert request.headers["authorization"] == "Bearer s3cret"
        links = [{"relation": "next", "url": "https://ehr.test.evil.test/fhir?page=2"}]
        return httpx.Response(200, json={"resourceType": "Bundle", "link": links})

    with pytest.raises(RecordRefused, match="search-leads-elsewhere"):
        await an_ehr(answer).publish(FIRST, revision=1)
    assert asked == ["ehr.test"]


async def test_an_ehr_that_ignores_what_is_searched_for_is_not_read_to_the_end() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        links = [{"relation": "next", "url": "https://ehr.test/fhir/DiagnosticReport?page=more"}]
        return httpx.Response(200, json={"resourceType": "Bundle", "link": links})

    with pytest.raises(RecordRefused, match="search-not-selective"):
        await an_ehr(answer).publish(FIRST, revision=1)


async def test_a_report_that_an_ehr_files_under_a_search_for_its_patient_is_shown_to_a_person() -> None:
    """Some do not replace it; nobody's chart would show this report."""
    subject = {"reference": "Patient?identifier=urn%3Aclinic%7C4711"}
    resources = Story(a_study(subject=subject), [an_image()]).linked()
    identified = [{**each, "id": f"at-ehr-{each['id']}"} for each in resources]
    linked = json.loads(re.sub(r'"Observation/', '"Observation/at-ehr-', json.dumps(identified)))

    def answer(request: httpx.Request) -> httpx.Response:
        kind = request.url.path.rpartition("/")[2]
        found = [{"resource": each} for each in linked if each["resourceType"] == kind]
        return httpx.Response(200, json={"resourceType": "Bundle", "entry": found})

    with pytest.raises(RecordRefused, match="patient-not-resolved"):
        await an_ehr(answer).publish(resources, revision=1)


def test_no_representation_shows_the_token() -> None:
    assert "s3cret" not in repr(Destination(base_url="https://ehr.test", bearer_token=SecretStr("s3cret")))


@pytest.mark.parametrize("status", [408, 409, 412, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_waited_for(status: int) -> None:
    with pytest.raises(RecordUnavailable):
        check(httpx.Response(status))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_waited_for(status: int) -> None:
    with pytest.raises(RecordCredentialsRefused, match=str(status)) as refused:
        check(httpx.Response(status, headers={"Retry-After": "9"}))
    assert refused.value.retry_after == timedelta(seconds=9)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 405, 406, 410, 413, 415, 422, 501])
def test_what_does_not_pass_waits_for_a_person(status: int) -> None:
    with pytest.raises(RecordRefused, match=str(status)):
        check(httpx.Response(status))


NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stated", "wait"),
    [
        ("30", timedelta(seconds=30)),
        (format_datetime(NOW + timedelta(minutes=2), usegmt=True), timedelta(minutes=2)),
        (format_datetime(NOW - timedelta(minutes=2), usegmt=True), timedelta(0)),
        ("999999999", timedelta(days=1)),
        ("9" * 5000, None),
        ("-3", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(stated: str, wait: timedelta | None) -> None:
    assert retry_after(httpx.Response(503, headers={"Retry-After": stated}), NOW) == wait


@pytest.mark.parametrize(
    "outcome",
    [
        {"issue": [{"code": "not-found", "diagnostics": "HAPI-1094: Patient Erika Gabler not found"}]},
        {"issue": [{"code": "Erika Gabler", "diagnostics": "Gabler", "expression": ["Erika Gabler", "Patient.name"]}]},
        {"issue": {"code": "invalid", "details": {"text": "Gabler"}, "location": ["/f:Patient/f:name='Gabler'"]}},
        {"issue": [{"code": "gabler", "expression": ["Gabler", "Gabler.erika", "Patient.Gabler"]}]},
        {"issue": [{"diagnostics": "specified in path: Gabler.erika"}]},
        {"issue": ["Gabler"]},
        ["Gabler"],
    ],
)
def test_what_an_ehr_says_of_a_patient_goes_no_further(outcome: Any) -> None:
    with pytest.raises(RecordRefused) as refused:
        check(httpx.Response(422, json=outcome))
    assert "Gabler" not in str(refused.value)


def test_an_error_is_told_however_many_warnings_come_before_it() -> None:
    warning = {"severity": "warning", "code": "processing", "expression": ["Observation.code"]}
    error = {"severity": "error", "code": "processing", "expression": ["Bundle.entry[0].resource.meta.profile[0]"]}

    with pytest.raises(RecordRefused) as refused:
        check(httpx.Response(422, json={"resourceType": "OperationOutcome", "issue": [*[warning] * 9, error]}))

    assert str(refused.value) == "the EHR answers 422 processing Bundle.entry[0].resource.meta.profile[0]"


@pytest.mark.parametrize(
    ("issue", "told"),
    [
        (
            {
                "code": "processing",
                "diagnostics": "HAPI-1094: Resource Patient/Gabler not found, specified in path: Observation.subject",
            },
            "processing HAPI-1094 (a resource that the report refers to is not there) Observation.subject",
        ),
        (
            {"code": "invariant", "expression": ["Bundle.entry[2].resource.ofType(Observation).value"]},
            "invariant Bundle.entry[2].resource.value",
        ),
        (
            {
                "code": "value",
                "location": ["Bundle.entry[0].resource/*DiagnosticReport/Gabler*/.code", "Line[1] Col[2]"],
            },
            "value Bundle.entry[0].resource.code",
        ),
    ],
)
def test_what_a_person_needs_of_a_refusal_is_told(issue: Any, told: str) -> None:
    with pytest.raises(RecordRefused) as refused:
        check(httpx.Response(422, json={"resourceType": "OperationOutcome", "issue": [issue]}))
    assert str(refused.value) == f"the EHR answers 422 {told}"
