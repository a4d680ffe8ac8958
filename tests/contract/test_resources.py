"""The resource store on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import psycopg
import pytest

from fundus_relay.adapters.database.resources import StoredResources
from fundus_relay.domain.errors import InvalidResource
from fundus_relay.domain.values import Json
from fundus_relay.fhir.search_index import LONGEST_VALUE
from fundus_relay.fhir.search_parameters import PARAMETERS

SNOMED = "http://snomed.info/sct"


def a_media(id: str, **elements: object) -> Json:
    return {
        "resourceType": "Media",
        "id": id,
        "status": "completed",
        "subject": {"reference": "Patient/p1"},
        "content": {"contentType": "image/jpeg", "url": "Binary/00"},
        **elements,
    }


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(
        database_url, autocommit=True, options="-c search_path=relay,public"
    ) as connection:
        yield connection


@pytest.fixture
async def store(connection: psycopg.AsyncConnection) -> StoredResources:
    return StoredResources(connection)


async def ids(store: StoredResources, kind: str, query: str) -> set[str]:
    page = await store.search(kind, [tuple(part.split("=", 1)) for part in query.split("&")])
    return {match["id"] for match in page.matches}


async def a_moment_later(connection: psycopg.AsyncConnection) -> None:
    """Until the database's clock is in a later millisecond than the newest version: two at most."""
    is_later = False
    while not is_later:
        cursor = await connection.execute(
            "select date_trunc('milliseconds', clock_timestamp()) > max(updated) from resource"
        )
        is_later = (await cursor.fetchone() or (False,))[0]


async def test_what_was_put_is_read_with_its_version_and_time(store: StoredResources) -> None:
    stored, is_new = await store.put(a_media("m1"))

    assert is_new
    assert stored["meta"]["versionId"] == "1"
    assert await store.read("Media", "m1") == stored


async def test_a_resource_without_id_is_given_one(store: StoredResources) -> None:
    stored, _ = await store.put({"resourceType": "Device"})

    assert await store.read("Device", stored["id"]) == stored


async def test_equal_content_adds_no_version(store: StoredResources) -> None:
    first, _ = await store.put(a_media("m1", duration=1.10))

    again, is_new = await store.put({**first, "meta": {"versionId": "7", "lastUpdated": "2001-01-01T00:00:00Z"}})

    assert not is_new
    assert again == first


async def test_every_version_stays_readable(store: StoredResources) -> None:
    first, _ = await store.put(a_media("m1"))
    second, _ = await store.put(a_media("m1", note=[{"text": "x"}]))

    assert second["meta"]["versionId"] == "2"
    assert await store.read("Media", "m1", 1) == first
    assert await store.read("Media", "m1", 2) == await store.read("Media", "m1") == second
    assert await store.read("Media", "m1", 3) is None
    assert await store.read("Media", "m2") is None


async def test_only_the_newest_version_is_found(store: StoredResources) -> None:
    await store.put(a_media("m1", status="completed"))
    await store.put(a_media("m1", status="entered-in-error"))

    assert await ids(store, "Media", "status=completed") == set()
    assert await ids(store, "Media", "status=entered-in-error") == {"m1"}


async def test_eight_writers_at_once_make_eight_versions(database_url: str) -> None:
    async def write(number: int) -> str:
        async with await psycopg.AsyncConnection.connect(
            database_url, options="-c search_path=relay,public"
        ) as connection:
            stored, _ = await StoredResources(connection).put(a_media("m1", height=number))
        return stored["meta"]["versionId"]

    assert sorted(await asyncio.gather(*map(write, range(1, 9)))) == list("12345678")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("_id=a", {"a"}),
        ("_id=a,b,zzz", {"a", "b"}),
        ("identifier=1", {"a", "b", "c"}),
        ("identifier=urn:s|1", {"a"}),
        ("identifier=|1", {"b"}),
        ("identifier=urn:s|", {"a"}),
        ("identifier=urn:s|1,urn:t|1", {"a", "c"}),
        ("identifier=urn:s|1&identifier=urn:t|1", set()),
        (r"identifier=x\,y\|z", {"c"}),
        ("subject=Patient/p1", {"a"}),
        ("patient=p1", {"a"}),
        ("patient=Patient/p1,Patient/p2", {"a", "b"}),
        ("subject=http://ehr/fhir/Patient/p1", {"c"}),
        ("subject:Patient=p2", {"b"}),
        ("patient:identifier=urn:mrn|9", {"c"}),
        ("patient.identifier=urn:mrn|7", {"a"}),
        ("subject:Patient.identifier=urn:mrn|9", {"c"}),
        ("based-on=ServiceRequest/s1", {"b"}),
        ("status=completed", {"a", "b"}),
        ("status=http://hl7.org/fhir/event-status|completed", {"a", "b"}),
        ("status:not=completed", {"c"}),
        (f"site={SNOMED}|362502000", {"a"}),
        ("_tag=urn:tags|demo", {"b"}),
        ("_lastUpdated=ge2020", {"a", "b", "c"}),
        ("_lastUpdated=lt2020-05", set()),
        ("_lastUpdated=gt2020-05-01T10:00:00+02:00&status=completed", {"a", "b"}),
    ],
)
async def test_each_parameter_finds_what_it_names(
    connection: psycopg.AsyncConnection, store: StoredResources, query: str, found: set[str]
) -> None:
    await store.put(
        {"resourceType": "Patient", "id": "p1", "identifier": [{"system": "urn:mrn", "value": "7"}]},
    )
    await store.put(
        a_media(
            "a",
            identifier=[{"system": "urn:s", "value": "1"}],
            bodySite={"coding": [{"system": SNOMED, "code": "362502000"}]},
        )
    )
    await store.put(
        a_media(
            "b",
            identifier=[{"value": "1"}],
            subject={"reference": "Patient/p2"},
            basedOn=[{"reference": "ServiceRequest/s1"}],
            meta={"tag": [{"system": "urn:tags", "code": "demo"}]},
        )
    )
    await store.put(
        a_media(
            "c",
            identifier=[{"system": "urn:t", "value": "1"}, {"system": "urn:s2", "value": "x,y|z"}],
            status="stopped",
            subject={
                "reference": "http://ehr/fhir/Patient/p1",
                "identifier": {"system": "urn:mrn", "value": "9"},
            },
        )
    )

    await a_moment_later(connection)

    assert await ids(store, "Media", query) == found


async def test_time_as_shown_divides_before_from_after(
    connection: psycopg.AsyncConnection, store: StoredResources
) -> None:
    first, _ = await store.put(a_media("a"))
    await a_moment_later(connection)
    shown = first["meta"]["lastUpdated"]

    assert await ids(store, "Media", f"_lastUpdated={shown}") == {"a"}
    assert await ids(store, "Media", f"_lastUpdated=gt{shown}") == set()
    assert await ids(store, "Media", f"_lastUpdated=ge{shown}") == {"a"}
    assert await ids(store, "Media", f"_lastUpdated=lt{shown}") == set()
    assert await ids(store, "Media", f"_lastUpdated=ne{shown}") == set()


@pytest.mark.parametrize("sort", ["_lastUpdated", "-_lastUpdated"])
async def test_pages_show_each_once_though_others_arrive_and_change(
    connection: psycopg.AsyncConnection, store: StoredResources, sort: str
) -> None:
    for number in range(10):
        await store.put(a_media(f"m{number}"))
    await a_moment_later(connection)
    seen: list[str] = []
    offset: int | None = 0
    pages = 0
    while offset is not None:
        page = await store.search("Media", [("_sort", sort)], count=3, offset=offset)
        seen += [match["id"] for match in page.matches if match["id"].startswith("m")]
        offset = page.next_offset
        await store.put({**a_media(f"late{pages}"), "status": "stopped"}) if pages < 3 else None
        pages += 1

    assert sorted(seen) == sorted(f"m{number}" for number in range(10))


@pytest.mark.parametrize("query", ["_lastUpdated=ge2020", "_sort=_lastUpdated"])
async def test_who_follows_the_time_is_shown_nothing_while_something_older_is_still_being_written(
    database_url: str, connection: psycopg.AsyncConnection, store: StoredResources, query: str
) -> None:
    await store.put(a_media("before"))
    await a_moment_later(connection)
    async with await psycopg.AsyncConnection.connect(database_url, options="-c search_path=relay,public") as slow:
        older, _ = await StoredResources(slow).put(a_media("slow"))
        newer, _ = await store.put(a_media("quick"))
        meanwhile = await ids(store, "Media", query)
        by_name = await ids(store, "Media", "_id=quick")
    await a_moment_later(connection)

    assert older["meta"]["lastUpdated"] <= newer["meta"]["lastUpdated"]
    assert meanwhile == {"before"}
    assert by_name == {"quick"}
    assert await ids(store, "Media", query) == {"before", "slow", "quick"}


async def test_newest_come_first_and_the_total_counts_every_page(store: StoredResources) -> None:
    for number in range(5):
        await store.put(a_media(f"m{number}"))

    first = await store.search("Media", [], count=2)
    second = await store.search("Media", [], count=2, offset=first.next_offset or 0)
    count = await store.search("Media", [], count=0)

    assert [match["id"] for match in first.matches + second.matches] == ["m4", "m3", "m2", "m1"]
    assert first.total == second.total == count.total == 5
    assert count.matches == ()


async def test_include_brings_what_is_referred_to_once(store: StoredResources) -> None:
    await store.put({"resourceType": "Patient", "id": "p1"})
    await store.put(a_media("m1"))
    await store.put({"resourceType": "Device", "id": "d1"})
    for id in ("o1", "o2"):
        await store.put(
            {
                "resourceType": "Observation",
                "id": id,
                "device": {"reference": "Device/d1"},
                "derivedFrom": [{"reference": "Media/m1"}],
            }
        )
    await store.put(
        {
            "resourceType": "DiagnosticReport",
            "id": "r1",
            "subject": {"reference": "Patient/p1"},
            "result": [{"reference": "Observation/o1"}, {"reference": "Observation/o2"}],
        }
    )

    async def included(kind: str, *parameters: tuple[str, str]) -> list[str]:
        page = await store.search(kind, parameters)
        return sorted(each["id"] for each in page.included)

    assert await included("DiagnosticReport") == []
    assert await included("DiagnosticReport", ("_include", "DiagnosticReport:result")) == ["o1", "o2"]
    assert await included("Observation", ("_include", "Observation:device")) == ["d1"]
    assert await included("DiagnosticReport", ("_include", "DiagnosticReport:subject:Device")) == []
    assert await included(
        "DiagnosticReport",
        ("_include", "DiagnosticReport:result"),
        ("_include", "DiagnosticReport:subject:Patient"),
        ("_include:iterate", "Observation:derived-from"),
    ) == ["m1", "o1", "o2", "p1"]


async def test_a_resource_of_the_same_name_elsewhere_is_not_brought_along(store: StoredResources) -> None:
    await store.put({"resourceType": "Patient", "id": "p1"})
    await store.put(a_media("m1", subject={"reference": "http://ehr/fhir/Patient/p1"}))

    page = await store.search("Media", [("_include", "Media:subject")])

    assert page.included == ()


@pytest.mark.parametrize("text", ["a\0b", "\ud800", float("inf")])
async def test_what_cannot_be_stored_is_refused_as_the_senders_to_change(store: StoredResources, text: object) -> None:
    with pytest.raises(InvalidResource):
        await store.put(a_media("m1", note=[{"text": text}]))


@pytest.mark.parametrize("kind", ["PractitionerRole", "DiagnosticReport"])
async def test_the_longest_value_is_stored_and_found_for_every_parameter(store: StoredResources, kind: str) -> None:
    identifier = {"system": "urn:", "value": secrets.token_urlsafe(LONGEST_VALUE)[: LONGEST_VALUE - 4]}
    paths = {parameter.path: parameter for parameter in PARAMETERS[kind].values() if "." not in parameter.path}
    longest = {
        path: {"identifier": identifier} if parameter.type == "reference" else [identifier]
        for path, parameter in paths.items()
        if parameter.type != "code"
    }

    await store.put({"resourceType": kind, "id": "x", **longest})

    assert await ids(store, kind, f"identifier=urn:|{identifier['value']}") == {"x"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("colour", "red"),
        ("identifier", ""),
        ("identifier", "|"),
        ("_lastUpdated", "yesterday"),
        ("subject", "Patient/p1/x"),
        ("_include", "*"),
        ("_sort", "status"),
        ("patient.name", "x"),
        ("status:above", "x"),
    ],
)
async def test_a_question_that_is_not_understood_is_refused(store: StoredResources, name: str, value: str) -> None:
    with pytest.raises(InvalidResource) as refusal:
        await store.search("Media", [(name, value)])

    assert refusal.value.issues[0].element.startswith("http.")
