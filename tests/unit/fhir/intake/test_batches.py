"""Entries of a Bundle that need each other: what a reference means, and what falls with what."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fhir.intake.defects import LEAVE_OUT
from tests.unit.fhir.intake.sent import (
    P1,
    P2,
    Json,
    a_bundle,
    a_media,
    a_patient,
    an_entry,
    an_order,
    refusals,
    taken,
)

from fundus_relay.domain.values import Submitted
from fundus_relay.fhir.intake.bundle import MAX_ENTRIES


def a_batch(*resources: Json) -> Json:
    """Each resource as `urn:uuid:0`, `urn:uuid:1` and so on."""
    entries = [an_entry(resource, fullUrl=f"urn:uuid:{at}") for at, resource in enumerate(resources)]
    return a_bundle(*entries, type="batch")


def an_organization(part_of: str | None = None, **elements: Any) -> Json:
    parent = {"partOf": {"reference": part_of}} if part_of else {}
    return {"resourceType": "Organization", "name": "Clinic", **parent, **elements}


def a_chain(length: int) -> list[Json]:
    """Organizations of which each is part of the next, and the last of none that came along."""
    return [an_organization(f"urn:uuid:{at + 1}") for at in range(length)]


def a_hub(length: int) -> Json:
    """A Media that names every link of a chain of orders, which fall one because of the other."""
    orders = [an_order(id=f"o{at}", basedOn=[{"reference": f"urn:uuid:{at + 1}"}]) for at in range(length)]
    orders[-1]["basedOn"] = [{"reference": "urn:uuid:none"}]
    return a_batch(*orders, a_media(basedOn=[{"reference": f"ServiceRequest/o{at}"} for at in range(length)]))


def codes(submitted: Submitted) -> dict[int, list[str]]:
    return {at: [issue.code for issue in why.issues] for at, why in submitted.refused.items()}


def test_an_entry_of_a_batch_falls_with_the_one_that_it_needs() -> None:
    submitted = taken(a_batch(*a_chain(30)))

    assert submitted.entries == ()
    assert codes(submitted) == {at: ["reference-unresolved"] for at in range(30)}


def test_an_entry_of_a_batch_stands_without_one_that_the_ehr_may_know_as_well() -> None:
    broken = an_entry(a_patient(id="p1", gender="x"), put=True)

    submitted = taken(a_bundle(broken, an_entry(a_media()), type="batch"))

    assert codes(submitted) == {0: ["code-unknown"]}
    assert [entry.resource["subject"]["reference"] for entry in submitted.entries] == ["Patient/p1"]


def test_an_entry_of_a_batch_falls_when_its_patient_does_and_others_are_there() -> None:
    lost = an_entry(a_patient(id="p1", managingOrganization={"reference": "urn:uuid:none"}), put=True)
    other = an_entry(a_patient(identifier=[{"value": "2"}]))

    submitted = taken(a_bundle(lost, other, an_entry(a_media()), type="batch"))

    assert codes(submitted) == {0: ["reference-unresolved"], 2: ["patient-mismatch"]}


def a_place(host: str, literal: str) -> str:
    return f"https://{host}.test/fhir/{literal}"


A, B = (an_entry(a_patient(identifier=[{"value": host}]), fullUrl=a_place(host, "Patient/p1")) for host in "ab")
PUT = an_entry(a_patient(id="p1", identifier=[{"value": "put"}]), put=True)
POST = an_entry(a_patient(id="p1", identifier=[{"value": "post"}]))


@pytest.mark.parametrize(
    ("others", "full_url", "said", "meant"),
    [
        ([A, B], a_place("a", "Media/m"), "Patient/p1", "Bundle.entry[0].resource"),
        ([A, B], a_place("b", "Media/m"), "Patient/p1", "Bundle.entry[1].resource"),
        ([A, PUT], a_place("a", "Media/m"), "Patient/p1", "Bundle.entry[0].resource"),
        ([A], a_place("c", "Media/m"), "Patient/p1", "reference-foreign"),
        ([], a_place("c", "Media/m"), "Patient/p1", "reference-foreign"),
        ([PUT], a_place("c", "Media/m"), "Patient/p1", "Bundle.entry[0].resource"),
        ([A, B], LEAVE_OUT, "Patient/p1", "reference-ambiguous"),
        ([A, PUT], LEAVE_OUT, "Patient/p1", "reference-ambiguous"),
        ([A, POST], P2, "Patient/p1", "reference-ambiguous"),
        ([A, B], LEAVE_OUT, a_place("b", "Patient/p1"), "Bundle.entry[1].resource"),
        ([POST], LEAVE_OUT, "Patient/p1", "Bundle.entry[0].resource"),
        ([PUT], P2, "Patient/p1/_history/2", "Bundle.entry[0].resource"),
        ([A], LEAVE_OUT, "Patient/p1", "Bundle.entry[0].resource"),
        ([], P2, "Patient/p1", "Patient/p1"),
        ([], a_place("relay", "Media/m"), "Patient/p1", "Patient/p1"),
        ([], a_place("ehr", "Media/m"), "Patient/p1", "Patient/p1"),
    ],
)
def test_a_reference_means_one_entry_or_none_and_is_linked_to_it(
    others: Sequence[Json], full_url: Any, said: str, meant: str
) -> None:
    bundle = a_bundle(*others, an_entry(a_media(subject={"reference": said}), fullUrl=full_url))

    if meant.startswith("reference-"):
        assert (f"Bundle.entry[{len(others)}].resource.subject.reference", meant) in refusals(bundle)
    else:
        assert taken(bundle).entries[-1].resource["subject"]["reference"] == meant


@pytest.mark.parametrize("other", [POST, A, an_entry(a_patient(), fullUrl=P1)], ids=["id", "url", "urn"])
def test_entries_of_a_batch_do_not_refer_to_each_other_but_by_what_the_ehr_knows(other: Json) -> None:
    said = P1 if other.get("fullUrl") == P1 else "Patient/p1"
    media = an_entry(a_media(subject={"reference": said}))

    refused = taken(a_bundle(other, media, type="batch"))
    known = taken(a_bundle(PUT, media, type="batch")) if said != P1 else None

    assert codes(refused)[1] == ["reference-unresolved", "patient-mismatch"][: len(codes(refused)[1])]
    assert known is None or known.entries[1].resource["subject"]["reference"] == said


@pytest.mark.parametrize(
    "who",
    [
        {"reference": "Patient/.."},
        {"reference": "Patient/."},
        {"reference": "Patient?name=Smith"},
        {"reference": "Patient?identifier="},
        {"reference": "Patient?identifier=urn:mrn|"},
        {"reference": "Patient?identifier=urn:mrn|1,urn:mrn|2"},
        {"reference": "Patient?_id=5&_id=6"},
        {"reference": "Patient?identifier=urn:mrn|1&active=true"},
    ],
    ids=str,
)
def test_a_patient_is_never_searched_for_but_by_one_identifier(who: Json) -> None:
    assert refusals(a_media(subject=who)) == [("Media.subject.reference", "value-invalid")]


def test_a_patient_may_be_searched_for_by_one_identifier() -> None:
    assert taken(a_media(subject={"reference": "Patient?identifier=urn:mrn|1"})).entries


def test_a_reference_and_its_identifier_must_be_of_one_patient() -> None:
    patient = an_entry(a_patient(identifier=[{"system": "urn:mrn", "value": "1"}]), fullUrl=P1)

    def a_visit_of(value: str) -> Json:
        subject = {"reference": P1, "identifier": {"system": "urn:mrn", "value": value}}
        return a_bundle(patient, an_entry(a_media(subject=subject)))

    assert taken(a_visit_of("1")).entries
    assert refusals(a_visit_of("2")) == [("Bundle.entry[1].resource.subject.identifier", "patient-mismatch")]


WHOM = st.sampled_from(["Patient/a", "Patient/b", "urn:uuid:0", "urn:uuid:1", "urn:uuid:none"])
WHAT = st.sampled_from(["ServiceRequest/a", "ServiceRequest/b", "urn:uuid:2", "urn:uuid:3", "urn:uuid:4"])
ID = st.sampled_from(["a", "b"])
IDENTIFIER = st.sampled_from(["1", "2"]).map(lambda value: [{"value": value}])
SUBJECT = WHOM.map(lambda who: {"reference": who}) | IDENTIFIER.map(lambda which: {"identifier": which[0]})
PATIENT = st.builds(a_patient, id=ID, identifier=IDENTIFIER, gender=st.sampled_from(["female", "x"]))
ORDER_OF = st.builds(
    lambda subject, id, based_on: an_order(subject=subject, id=id, basedOn=[{"reference": based_on}]),
    SUBJECT, ID, WHAT,
)  # fmt: skip
MEDIA_OF = st.builds(
    lambda subject, based_on: a_media(subject=subject, basedOn=[{"reference": each} for each in based_on]),
    SUBJECT, st.lists(WHAT, min_size=1, max_size=3),
)  # fmt: skip


@given(st.tuples(PATIENT, PATIENT, ORDER_OF, ORDER_OF, ORDER_OF, MEDIA_OF, MEDIA_OF))
@settings(max_examples=300, deadline=None)
def test_whatever_stands_of_a_batch_stands_also_alone(resources: Sequence[Json]) -> None:
    batch = a_batch(*resources, an_organization())
    refused = taken(batch).refused

    rest = [entry for at, entry in enumerate(batch["entry"]) if at not in refused]

    assert taken({**batch, "entry": rest}).refused == {}


def calls(work: Callable[[], object]) -> int:
    """How many functions are called."""
    count = 0

    def on_event(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    "a_body",
    [
        lambda length: a_batch(*a_chain(length)),
        a_hub,
        lambda length: a_batch(
            *(a_patient(identifier=[{"value": str(at)}]) for at in range(length)),
            *(a_media(subject={"identifier": {"value": str(at)}}) for at in range(length)),
        ),
    ],
    ids=["chain", "hub", "identifiers"],
)
def test_twice_as_many_entries_are_twice_the_work(a_body: Callable[[int], Json]) -> None:
    taken(a_body(2))  # what is looked up once and then known
    small, large = (calls(partial(taken, a_body(length))) for length in (60, 120))

    assert large < 2.2 * small


def test_a_bundle_of_too_many_entries_is_refused() -> None:
    entries = [an_entry(an_organization())] * (MAX_ENTRIES + 1)

    assert refusals(a_bundle(*entries, type="batch")) == [("Bundle.entry", "too-many-entries")]
    assert len(taken(a_bundle(*entries[1:], type="batch")).entries) == MAX_ENTRIES
