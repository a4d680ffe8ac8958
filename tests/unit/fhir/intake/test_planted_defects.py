"""One defect in a valid resource is refused, at the element that has it; what is valid is taken."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fhir.intake.defects import DEFECTS, LEAVE_OUT, PARENT, UNUSUAL, WRONG_TARGETS, planted
from tests.unit.fhir.intake.valid import EXAMPLES, VALID, Json, a_narrative

from fundus_relay.domain.errors import InvalidResource, Issue
from fundus_relay.domain.values import Submitted
from fundus_relay.fhir.intake.invariants import keys
from fundus_relay.fhir.intake.rules import TYPES
from fundus_relay.fhir.intake.submission import read_submission
from fundus_relay.fhir.issue_codes import MEANING

OTHER_PICTURE = {("Media.content.contentType", "content-type")}
NARROWER = {
    "Media/example": OTHER_PICTURE,
    "Media/sound": OTHER_PICTURE,
    "Patient/f201": {("Patient.identifier[0]", "identifier-twice")},
    "ServiceRequest/myringotomy": {("ServiceRequest.subject.reference", "reference-foreign")},
}
"""Examples of HL7 that we refuse: no photograph, an identifier that stands twice, a patient of somewhere else."""


def element_of(place: str, where: str = "") -> str:
    """The FHIRPath that is expected: of the place, of the part that holds it, of a part of it, or another."""
    if where == PARENT:
        return place.rpartition(".")[0]
    return where if where[:1].isupper() else f"{place}{where}"


def taken(document: Json) -> Submitted:
    return read_submission(deepcopy(document))


def refusal(document: Json) -> tuple[Issue, ...]:
    with pytest.raises(InvalidResource) as caught:
        taken(document)
    return caught.value.issues


def refused(document: Json) -> list[tuple[str, str]]:
    try:
        taken(document)
    except InvalidResource as why:
        return [(issue.element, issue.code) for issue in why.issues]
    return []


@pytest.mark.parametrize("kind", VALID)
def test_a_resource_without_a_defect_is_taken(kind: str) -> None:
    assert taken(VALID[kind])


@pytest.mark.parametrize(("place", "value"), UNUSUAL)
def test_what_is_valid_but_unusual_is_taken(place: str, value: Any) -> None:
    assert taken(planted(place, value))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example['resourceType']}-{example['id']}")
def test_an_example_of_hl7_is_taken_unless_a_rule_of_ours_is_narrower(example: Json) -> None:
    name = f"{example['resourceType']}/{example['id']}"

    assert set(refused(example)) == NARROWER.get(name, set())


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect[0]}={defect[1]!s:.20}")
def test_a_planted_defect_is_refused_at_its_element(defect: tuple[str, Any, str]) -> None:
    place, value, said, *where = defect

    (issue, *more) = refusal(planted(place, value))

    assert issue.element == element_of(place, *where)
    assert said == issue.code or issue.text.startswith(f"{said}: ")
    assert issue.code in MEANING
    assert more == []


@pytest.mark.parametrize(("place", "target"), WRONG_TARGETS)
def test_a_reference_to_a_type_that_the_element_does_not_take_is_refused(place: str, target: str) -> None:
    (issue,) = refusal(planted(f"{place}.reference", target))

    assert (issue.element, issue.code) == (place, "reference-type")


@pytest.mark.parametrize(
    ("place", "value", "advice"),
    [
        ("Patient.gender", "f", "the code must be one of female, male, other, unknown"),
        ("Patient.birthDate", "02.05.1970", "write a date that exists, such as 2024-05-02, 2024-05 or 2024"),
        ("Patient.active", "true", "write true or false, without quotes"),
        ("Media.width", "10", "write a number, without quotes"),
        ("Media.width", 0, "write a whole number above zero"),
        (
            "Media.meta.lastUpdated",
            "2024",
            "write a time to the second with its zone, such as 2024-05-02T09:30:00+02:00",
        ),
        ("Endpoint.payloadMimeType", ["dicom"], "write a media type, such as image/jpeg"),
        ("Media.createdDateTime", "2024", "give only one of createdDateTime and createdPeriod"),
        ("Encounter.length.value", LEAVE_OUT, "drt-1: a unit must be of UCUM, and with a value"),
    ],
)
def test_a_refusal_says_what_to_write(place: str, value: Any, advice: str) -> None:
    assert [issue.text for issue in refusal(planted(place, value))] == [advice]


def test_there_is_a_defect_for_every_invariant() -> None:
    assert {said for _, _, said, *_ in DEFECTS} >= keys()


def test_there_are_defects_of_every_type_that_is_taken() -> None:
    assert {place.partition(".")[0] for place, *_ in DEFECTS} == {*TYPES, "Bundle"}


MOMENT = st.from_regex(
    r"\A[0-9]{4}(-(0[1-9]|1[0-2])(-[0-3][0-9](T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)"
    r"(\.[0-9]{1,9})?(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00))?)?)?\Z"
)


@given(MOMENT, MOMENT)
@settings(max_examples=300, deadline=None)
def test_any_two_times_make_a_period_or_an_issue(start: str, end: str) -> None:
    forwards, backwards = ({"start": start, "end": end}, {"start": end, "end": start})

    try:
        taken(planted("Media.createdPeriod", forwards))
    except InvalidResource as why:
        assert {issue.code for issue in why.issues} <= {"invariant", "value-invalid"}
        if [issue.code for issue in why.issues] == ["invariant"]:
            assert taken(planted("Media.createdPeriod", backwards))


MARKUP = (
    "<p>", "</p>", "<b/>", "&nbsp;", "&nope;", "&#0;", "<!-- ", " -->", "<![CDATA[", "]]>", "<!DOCTYPE x>", "<?x y?>",
    "<x:p/>", "<p a='", "'>", "text", "&lt;", "<", "\U0001f441", "</div>",
)  # fmt: skip


@given(st.lists(st.sampled_from(MARKUP) | st.text(max_size=3), max_size=8).map("".join))
@settings(max_examples=300, deadline=None)
def test_any_markup_is_a_narrative_or_an_issue(inside: str) -> None:
    try:
        taken(planted("Media.text", a_narrative(inside)))
    except InvalidResource as why:
        assert [issue.text[:4] for issue in why.issues] in (["txt-"],)
