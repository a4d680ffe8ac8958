"""Search without a database: what resources are found by and what queries ask."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_relay.domain.errors import InvalidResource
from fundus_relay.fhir.search import (
    LONGEST_QUERY,
    MOST_PARAMETERS,
    Chained,
    IdIn,
    Include,
    Indexed,
    Pattern,
    canonical_criteria,
    decode,
    is_supported,
    parse,
)
from fundus_relay.fhir.search_dates import Interval, intervals
from fundus_relay.fhir.search_index import LONGEST_VALUE, IndexValue, check_lengths, index_values

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


LAST = "9999-12-31T23:59:59.999999"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_resource_is_found_by_all_its_tokens_and_references() -> None:
    values = index_values(
        {
            "resourceType": "Observation",
            "status": "final",
            "identifier": [{"system": "urn:s", "value": "1"}, {"value": "2"}, {"system": "urn:empty"}],
            "code": {"coding": [{"system": "urn:c", "code": "x"}, {"code": "y"}], "text": "never searched"},
            "subject": {"reference": "Patient/p1", "identifier": {"system": "urn:mrn", "value": "9"}},
            "derivedFrom": [{"reference": "Media/m1/_history/2"}, {"reference": "#inside"}, {"display": "words"}],
            "component": [{"code": {"coding": [{"system": "urn:c", "code": "z"}]}}],
        }
    )

    assert set(values) == {
        IndexValue("status", None, "final"),
        IndexValue("identifier", "urn:s", "1"),
        IndexValue("identifier", None, "2"),
        IndexValue("code", "urn:c", "x"),
        IndexValue("code", None, "y"),
        IndexValue("subject", None, "Patient/p1"),
        IndexValue("subject:identifier", "urn:mrn", "9"),
        IndexValue("patient", None, "Patient/p1"),
        IndexValue("patient:identifier", "urn:mrn", "9"),
        IndexValue("derived-from", None, "Media/m1"),
        IndexValue("component-code", "urn:c", "z"),
    }
    assert len(values) == len(set(values))


def test_a_reference_elsewhere_keeps_its_server() -> None:
    (value, _) = index_values(
        {"resourceType": "Media", "subject": {"reference": "https://ehr.test/r4/Patient/p1/_history/1"}}
    )

    assert value == IndexValue("subject", "https://ehr.test/r4", "Patient/p1")


def test_patient_is_indexed_for_patients_only() -> None:
    values = index_values({"resourceType": "Media", "subject": {"reference": "Device/d1"}})

    assert [value.parameter for value in values] == ["subject"]


def test_what_is_too_long_to_be_found_is_named_with_its_place() -> None:
    long = "é" * (LONGEST_VALUE // 2)
    media = {
        "resourceType": "Media",
        "identifier": [{"system": "s", "value": "v"}, {"system": "s", "value": long}, {"value": long}],
        "subject": {"reference": f"https://{long}/Patient/p1"},
        "note": [{"text": f"{long}{long}"}],
    }

    issues = list(check_lengths(media, "Bundle.entry[1].resource"))

    assert [(issue.element, issue.code) for issue in issues] == [
        ("Bundle.entry[1].resource.identifier[1]", "value-too-long"),
        ("Bundle.entry[1].resource.subject", "value-too-long"),
    ]


def test_a_type_without_parameters_is_found_by_its_tags() -> None:
    values = index_values({"resourceType": "Basic", "meta": {"tag": [{"system": "urn:t", "code": "a"}]}})

    assert values == [IndexValue("_tag", "urn:t", "a")]


@pytest.mark.parametrize(
    ("name", "value", "patterns"),
    [
        ("identifier", "v", [Pattern("v", is_any_system=True)]),
        ("identifier", "s|v", [Pattern("v", "s")]),
        ("identifier", "|v", [Pattern("v", None)]),
        ("identifier", "s|", [Pattern(None, "s")]),
        ("identifier", "a,s|b", [Pattern("a", is_any_system=True), Pattern("b", "s")]),
        ("identifier", r"a\,b\|c\\", [Pattern("a,b|c\\", is_any_system=True)]),
        ("status", "urn:x|completed", [Pattern("completed", is_any_system=True)]),
        ("subject", "Patient/1", [Pattern("Patient/1")]),
        ("subject", "1", [Pattern("Patient/1")]),
        ("subject", "http://e/r/Patient/1", [Pattern("Patient/1", "http://e/r")]),
    ],
)
def test_values_are_understood(name: str, value: str, patterns: list[Pattern]) -> None:
    assert parse("Media", [(name, value)]).criteria == (Indexed(name, tuple(patterns)),)


def test_a_bare_id_may_be_of_each_type_that_the_parameter_may_refer_to() -> None:
    (criterion,) = parse("Task", [("focus", "x")]).criteria

    assert criterion == Indexed("focus", tuple(Pattern(f"{t}/x") for t in ("Media", "ImagingStudy")))


def test_repeated_parameters_all_count_and_manners_do_not() -> None:
    query = parse("Media", [("_id", "a,b"), ("_count", "5"), ("_format", "json"), ("status:not", "x")])

    assert query.criteria == (
        IdIn(("a", "b")),
        Indexed("status", (Pattern("x", is_any_system=True),), is_negated=True),
    )


@pytest.mark.parametrize("name", ["patient.identifier", "patient:Patient.identifier"])
def test_identifiers_are_reached_through_references(name: str) -> None:
    (criterion,) = parse("Media", [(name, "s|v")]).criteria

    assert criterion == Chained("patient", "Patient", Indexed("identifier", (Pattern("v", "s"),)))


def test_includes_name_type_parameter_and_target() -> None:
    query = parse("Task", [("_include", "Task:focus:Media"), ("_include:iterate", "Media:subject")])

    assert query.includes == (Include("Task", "focus", "Media"), Include("Media", "subject", None, is_iterated=True))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("identifier", "a|b|c"),
        ("identifier", "a,"),
        ("identifier:contains", "a"),
        ("identifier.x", "a"),
        ("subject:above", "a"),
        ("subject:Patient.name", "a"),
        ("subject", "Patient/1?x"),
        ("_lastUpdated", "ap2024"),
        ("_include", "Media:status"),
        ("_include", "Banana:subject"),
        ("_include", "Media:subject:Pat%"),
        ("_include", "Media:subject:Patient\0"),
        ("_revinclude", "Media:subject"),
        ("_sort", "status"),
        ("status", "a\0"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidResource) as refusal:
        parse("Media", [(name, value)])

    assert refusal.value.issues[0].element == f"http.{name.split(':', maxsplit=1)[0].split('.', maxsplit=1)[0]}"


def test_a_refusal_repeats_no_text_that_could_be_anybodys_data() -> None:
    with pytest.raises(InvalidResource) as refusal:
        parse("Media", [("Jane Roe", "x")])

    assert "Jane" not in str(refusal.value) + refusal.value.issues[0].text


@given(system=ANY_TEXT, value=ANY_TEXT)
def test_any_identifier_is_found_by_its_escaped_self(system: str, value: str) -> None:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|").replace(",", "\\,")

    (criterion,) = parse("Media", [("identifier", f"{escaped(system)}|{escaped(value)}")]).criteria

    assert criterion == Indexed("identifier", (Pattern(value, system),))


@given(name=st.text(), value=st.text())
def test_no_query_breaks_the_parser(name: str, value: str) -> None:
    for parameter in (name, "identifier", "subject", "_lastUpdated", "_include", f"subject:{name}", f"_{name}"):
        try:
            parse("Media", [(parameter, value)])
        except InvalidResource as refusal:
            assert refusal.issues


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024", [("2024-01-01", "2025-01-01")]),
        ("eq2024-12", [("2024-12-01", "2025-01-01")]),
        ("2024-02-28", [("2024-02-28", "2024-02-29")]),
        ("2024-02-28T10:30", [("2024-02-28T10:30", "2024-02-28T10:31")]),
        ("2024-02-28T10:30:00Z", [("2024-02-28T10:30", "2024-02-28T10:30:01")]),
        ("2024-02-28T10:30:00.250Z", [("2024-02-28T10:30:00.250", "2024-02-28T10:30:00.251")]),
        ("2024-02-28T10:30:00+05:30", [("2024-02-28T05:00", "2024-02-28T05:00:01")]),
        ("2024-02-28T10:30:00 05:30", [("2024-02-28T05:00", "2024-02-28T05:00:01")]),
        ("2016-12-31T23:59:60Z", [("2016-12-31T23:59:59", "2017-01-01")]),
        ("2024-02-28T10:30:00.2500000000001Z", [("2024-02-28T10:30:00.250", "2024-02-28T10:30:00.250001")]),
        ("ge2024", [("2024-01-01", None)]),
        ("gt2024", [("2025-01-01", None)]),
        ("sa2024", [("2025-01-01", None)]),
        ("le2024", [(None, "2025-01-01")]),
        ("lt2024", [(None, "2024-01-01")]),
        ("eb2024", [(None, "2024-01-01")]),
        ("ne2024", [(None, "2024-01-01"), ("2025-01-01", None)]),
        ("le9999-12-31T23:59:59Z", [(None, LAST)]),
        ("gt9999-12-31T23:59:59.999999-14:00", [(LAST, None)]),
        ("lt9999", [(None, "9999-01-01")]),
        ("ge0001-01-01T00:00:00+14:00", [("0001-01-01", None)]),
    ],
)
def test_a_date_is_as_wide_as_it_is_vague(text: str, expected: list[tuple[str | None, str | None]]) -> None:
    assert intervals(text) == tuple(Interval(b and at(b), e and at(e)) for b, e in expected)  # type: ignore[arg-type]  # `and` keeps None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ge",
        "2024-13",
        "2024-02-30",
        "24-01-01",
        "0000",
        "2024-01-01T25:00",
        "2024-01-01T10:00:61Z",
        "x2024",
        "٢٠٢٤",
    ],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        intervals(text)


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)))
def test_every_moment_lies_in_its_own_millisecond(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    shown = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    (interval,) = intervals(shown)

    assert interval.begin is not None
    assert interval.end is not None
    assert interval.begin <= moment < interval.end
    assert interval.end - interval.begin == timedelta(milliseconds=1)


@pytest.mark.parametrize("query", ["a=" + "b" * LONGEST_QUERY, "&".join(["a=b"] * (MOST_PARAMETERS + 1)), "a=%ff"])
def test_a_query_that_is_none_or_too_long_is_refused(query: str) -> None:
    with pytest.raises(InvalidResource):
        decode(query)


@pytest.mark.parametrize(
    "text",
    [
        "identifier=urn:s|1&status=completed",
        "?status=completed&identifier=urn%3As%7C1",
        "Media?identifier=urn:s%7C1&_format=json&status=completed&status=completed",
    ],
)
def test_one_condition_has_one_spelling(text: str) -> None:
    assert canonical_criteria("Media", text) == "identifier=urn%3As%7C1&status=completed"


@pytest.mark.parametrize("text", ["", "?", "_format=json", "_pretty=true&_count=1"])
def test_manners_are_no_condition(text: str) -> None:
    assert canonical_criteria("Media", text) is None


@pytest.mark.parametrize("text", ["_sort=_lastUpdated", "_include=Media:subject", "identifier=", "x=1", "a=%FF"])
def test_a_condition_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidResource):
        canonical_criteria("Media", text)


@given(value=ANY_TEXT)
def test_a_condition_means_the_same_in_its_one_spelling(value: str) -> None:
    plain = "".join(each for each in value if each not in "\\|,")

    once = canonical_criteria("Media", f"identifier={quote(plain, safe='')}x")

    assert once is not None
    assert canonical_criteria("Media", once) == once


@pytest.mark.parametrize(
    ("name", "known"),
    [("identifier", True), ("patient.identifier", True), ("_id", True), ("_count", True), ("colour", False)],
)
def test_what_is_supported_is_known_by_name(name: str, known: bool) -> None:
    assert is_supported("Media", name) is known
