"""OperationOutcome: what went wrong, element by element, in FHIR's words and with our stable code."""

from __future__ import annotations

from fundus_relay.domain.errors import Issue
from fundus_relay.domain.values import Json

from .names import CANONICAL

RELAY_CODES = f"{CANONICAL}/CodeSystem/relay-outcome"
"""CodeSystem of our error codes; the README lists them."""


def outcome(*issues: Issue, severity: str = "error") -> Json:
    """An OperationOutcome with an issue for each, in order."""
    return {"resourceType": "OperationOutcome", "issue": [_issue(issue, severity) for issue in issues]}


def all_well(text: str) -> Json:
    """What `Prefer: return=OperationOutcome` gets after a success."""
    return outcome(Issue("", "informational", text, "all-well"), severity="information")


def _issue(issue: Issue, severity: str) -> Json:
    said: Json = {
        "severity": severity,
        "code": issue.kind,
        "details": {"coding": [{"system": RELAY_CODES, "code": issue.code}]},
        "diagnostics": issue.text,
    }
    return {**said, "expression": [issue.element]} if issue.element else said
