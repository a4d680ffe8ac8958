"""The demonstration EHR's page: every report as a table, made from its coded parts. Whatever was sent is escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape

from .ehr_store import WARNING, Json, Store, linked

_STYLE = (
    "body{font:16px system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "p.warning{background:#fff3cd;padding:.6rem 1rem;border-left:.4rem solid #e69f00}"
    "section{border-top:1px solid #ccc;padding:1rem 0}table{border-collapse:collapse}"
    "td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}"
)


def page(store: Store) -> str:
    """HTML of everything that arrived, the newest report last."""
    reports = "".join(_section(report, store) for report in store.newest("DiagnosticReport"))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Demonstration EHR</title>"
        f"<style>{_STYLE}</style><h1>Demonstration EHR</h1><p class=warning>{escape(WARNING)}</p>"
        + (reports or "<p>No report has arrived yet.</p>")
    )


def _section(report: Json, store: Store) -> str:
    link, subject = f"/fhir/DiagnosticReport/{report['id']}", report.get("subject", {}).get("reference", "nobody")
    rows = "".join(
        f"<tr><td>{escape(eye)}</td><th>{escape(what)}</th><td>{escape(value)}</td></tr>"
        for eye, what, value in _rows(report, store)
    )
    status = escape(str(report.get("status")))
    return (
        f"<section><h2><a href='{escape(link)}'>Report</a> · {escape(subject)} · {status}</h2>"
        f"<p>{escape(str(report.get('conclusion', '')))}</p><table>{rows}</table></section>"
    )


def _rows(report: Json, store: Store) -> Iterator[tuple[str, str, str]]:
    """Eye, question and answer of each Observation that answers one."""
    for name in filter(store.has, linked(report, "result")):
        observation = store.read(name)
        if "hasMember" not in observation:
            yield _words(observation.get("bodySite")), _words(observation.get("code")), _answer(observation)


def _answer(observation: Json) -> str:
    if "valueCodeableConcept" in observation:
        return _words(observation["valueCodeableConcept"])
    if "dataAbsentReason" in observation:
        return f"no value: {_words(observation['dataAbsentReason'])}"
    kinds = Counter(_words(each.get("code")) for each in observation.get("component", []))
    return ", ".join(f"{count} × {kind}" for kind, count in kinds.items())


def _words(concept: Json | None) -> str:
    """Text of a CodeableConcept, or what its codings show."""
    stated = concept or {}
    shown = [coding.get("display") or coding.get("code") for coding in stated.get("coding", [])]
    return str(stated.get("text") or next(filter(None, shown), ""))
