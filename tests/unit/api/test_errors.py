"""Every error has a status, an outcome that is FHIR, and says no more than it should."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fhir.resources.R4B.operationoutcome import OperationOutcome

from fundus_relay.api import errors
from fundus_relay.domain import errors as domain
from fundus_relay.domain.errors import InvalidResource, Issue, RelayError, StoreUnavailable


def an_issue(element: str = "Media.status", kind: str = "value", code: str = "x") -> InvalidResource:
    return InvalidResource(Issue(element, kind, "text", code))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (an_issue(), 422),
        (an_issue("Media", "structure"), 400),
        (an_issue("Media.note", "structure"), 422),
        (an_issue("http.identifier"), 400),
        (an_issue("Media.content.data", code="picture-too-large"), 413),
        (domain.CriteriaNotSelective(), 412),
        (domain.VersionConflict(), 412),
        (domain.DamagedPicture(), 422),
        (domain.PictureTooLarge(), 413),
        (StoreUnavailable(), 503),
        (domain.AnswerNotUnderstood("secret"), 500),
        (errors.NotFound("x"), 404),
        (errors.NotAcceptable("x"), 406),
        (errors.UnsupportedBody("x"), 415),
    ],
)
def test_each_kind_of_error_has_its_status(error: RelayError, status: int) -> None:
    answer = errors.refusal(error)

    assert answer.status == status
    OperationOutcome.model_validate(answer.outcome)
    assert "secret" not in str(answer.outcome)


def test_an_issue_names_its_element_and_our_code() -> None:
    (issue,) = errors.refusal(an_issue()).outcome["issue"]

    assert issue["expression"] == ["Media.status"]
    assert issue["details"]["coding"][0]["code"] == "x"


@pytest.mark.parametrize(
    ("count", "last"), [(100, "text"), (101, "and at least 2 more"), (5000, "and at least 4901 more")]
)
def test_an_outcome_shows_a_hundred_issues_and_how_many_more_there_are(count: int, last: str) -> None:
    (one,) = an_issue().issues

    answer = errors.refusal(InvalidResource(*[one] * count))

    OperationOutcome.model_validate(answer.outcome)
    assert len(answer.outcome["issue"]) == 100
    assert answer.outcome["issue"][-1]["diagnostics"].startswith(last)


def test_who_must_wait_is_told_how_long() -> None:
    told = errors.refusal(StoreUnavailable(retry_after=timedelta(seconds=7.2)))
    untold = errors.refusal(StoreUnavailable())

    assert told.headers == {"Retry-After": "8"}
    assert int(untold.headers["Retry-After"]) > 0


def test_our_codes_are_unique() -> None:
    leaves = [errors.HttpRefusal, *errors.HttpRefusal.__subclasses__()]

    assert len({leaf.code for leaf in leaves}) == len(leaves)
