"""The runbook has an entry for every alert and for every reason for which something waits for a person."""

from __future__ import annotations

import re

import yaml
from tests.deploy.objects import DEPLOY, ROOT
from tests.readme_tables import leaves

from fundus_relay.domain.errors import Unavailable
from fundus_relay.fhir.task import REASONS
from fundus_relay.imaging.precheck import Advice
from fundus_relay.pipeline.acquire import WHY_PARKED
from fundus_relay.pipeline.delivery import HORIZON_PASSED
from fundus_relay.pipeline.poll import SILENT

RUNBOOK = (DEPLOY / "runbook.md").read_text()
RULES = yaml.safe_load((DEPLOY / "observability/alerts.yaml").read_text())["spec"]["groups"][0]["rules"]
PARTS = ("alerts", "parked reasons", "waits that end by themselves")


def _headings(part: str) -> list[str]:
    section = re.search(rf"^## {part}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    assert section, f"no part {part!r}"
    return [
        name for line in re.findall(r"^### (.+)$", section[1], re.MULTILINE) for name in re.findall(r"`([^`]+)`", line)
    ]


def _parked_reasons_of_the_readme() -> set[str]:
    section = (ROOT / "README.md").read_text().partition("### When something waits for a person")[2]
    rows = re.findall(r"^\| (`.+?) \|", section.partition("## Errors")[0], re.MULTILINE)
    return {name.split(":")[0] for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_alert_has_its_entry_and_no_entry_is_of_no_alert() -> None:
    alerts = [rule["alert"] for rule in RULES]

    assert len(alerts) >= 10
    assert sorted(_headings("alerts")) == sorted(alerts)


def test_every_parked_reason_has_its_entry_and_no_entry_is_of_no_reason() -> None:
    entries = _headings("parked reasons")

    assert len(entries) == len(set(entries))
    assert set(entries) == _parked_reasons_of_the_readme()
    assert set(entries) >= {*WHY_PARKED, *(str(advice) for advice in Advice), HORIZON_PASSED, SILENT}


def test_every_wait_that_ends_by_itself_has_its_entry() -> None:
    waits = {leaf.code for leaf in leaves() if issubclass(leaf, Unavailable)} & REASONS.keys()

    assert waits <= {*_headings("waits that end by themselves"), *_headings("parked reasons")}


def test_each_alert_leads_to_its_entry_and_says_how_bad_it_is() -> None:
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"deploy/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]


def test_each_entry_says_what_to_look_at_and_what_to_do() -> None:
    entries = re.split(r"^### ", RUNBOOK, flags=re.MULTILINE)[1:]

    for entry in entries:
        assert "**Look**" in entry, entry.splitlines()[0]
        assert "**Do**" in entry, entry.splitlines()[0]


def test_each_alert_has_a_case_that_rings_and_one_that_does_not() -> None:
    cases = yaml.safe_load((ROOT / "tests/deploy/alerts_cases.yaml").read_text())["tests"]
    rings = {(each["alertname"], bool(each["exp_alerts"])) for case in cases for each in case["alert_rule_test"]}

    assert rings == {(rule["alert"], does_ring) for rule in RULES for does_ring in (True, False)}


def test_each_alert_tells_installations_apart() -> None:
    for rule in RULES:
        aggregations = re.findall(r"\b(?:sum|min|max|avg|count|group)\b *(\w+ *\([^)]*\))?", rule["expr"])

        assert aggregations, rule["alert"]
        assert all(each.startswith("by (namespace") for each in aggregations), rule["alert"]
