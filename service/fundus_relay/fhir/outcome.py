"""OperationOutcome: what went wrong, element by element, in FHIR's words and with our stable code."""

from __future__ import annotations

from collections.abc import Sequence

from fundus_relay.domain.errors import Issue
from fundus_relay.domain.values import Json

from .names import CANONICAL

RELAY_CODES = f"{CANONICAL}/CodeSystem/relay-outcome"
"""CodeSystem of our error codes; the README lists them."""


MAX_ISSUES = 100
"""More than anybody reads; a small request may break a rule tens of thousands of times."""


MAX_ISSUES_OF_AN_ENTRY = 10
"""The same where a Bundle answers to each of a thousand entries."""


def outcome(*issues: Issue, severity: str = "error", at_most: int = MAX_ISSUES) -> Json:
    """An OperationOutcome with an issue for each, in order; of too many the last one says how many are left out."""
    shown = [_issue(issue, severity) for issue in issues[:at_most]]
    if len(issues) > at_most:
        text = f"and at least {len(issues) - at_most + 1} more; mend these first"
        shown[-1] = _issue(Issue("", "informational", text, "more-issues"), "information")
    return {"resourceType": "OperationOutcome", "issue": shown}


def all_well(text: str) -> Json:
    """What `Prefer: return=OperationOutcome` gets after a success."""
    return outcome(Issue("", "informational", text, "all-well"), severity="information")


def noted(text: str, notes: Sequence[Issue]) -> Json:
    """The same, unless there is something that the sender should know although all was taken."""
    return outcome(*notes, severity="warning") if notes else all_well(text)


def _issue(issue: Issue, severity: str) -> Json:
    said: Json = {
        "severity": severity,
        "code": issue.kind,
        "details": {"coding": [{"system": RELAY_CODES, "code": issue.code}]},
        "diagnostics": issue.text,
    }
    return {**said, "expression": [issue.element]} if issue.element else said
