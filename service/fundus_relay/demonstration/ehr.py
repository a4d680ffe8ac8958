"""A small FHIR R4 server that plays the EHR. For demonstration and tests only: no users, no rights, no validation.

It behaves as HAPI FHIR 8.8.0 was observed to where that matters to a sender of reports, and it can misbehave on
request (`POST /admin/faults`), so that tests see what becomes of a report then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .ehr_store import Json, Refused, Store

WARNING = "Demonstration EHR of Fundus Relay. For demonstration and tests only."
PATIENTS = [
    {
        "resourceType": "Patient",
        "id": "demo-patient",
        "identifier": [{"system": "urn:fundus-relay:demo", "value": "demo-patient"}],
        "name": [{"text": "Synthetic Patient"}],
    },
    {
        "resourceType": "Patient",
        "id": "second-patient",
        "identifier": [{"system": "urn:fundus-relay:demo", "value": "second-patient"}],
        "name": [{"text": "Second Synthetic Patient"}],
    },
]

log = logging.getLogger(__name__)


def demonstration_ehr(state: Path | None = None) -> Starlette:
    """The ASGI application, with two synthetic patients.

    Args:
        state: SQLite file; without one everything is forgotten at the end.
    """
    return Ehr(Store(state)).app()


class Ehr:
    """Endpoints over a store, and faults to be had on request."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.faults: Json = {}
        known = store.counts().get("Patient")
        if not known:
            store.transact([_put(patient) for patient in PATIENTS])
        log.warning("demonstration-ehr-no-real-patients")

    def app(self) -> Starlette:
        routes = [
            Route("/", self.page),
            Route("/livez", _live),
            Route("/admin/counts", self.counts),
            Route("/admin/faults", self.set_faults, methods=["POST"]),
            Route("/fhir", self.exchange, methods=["POST"]),
            Route("/fhir/", self.exchange, methods=["POST"]),
            Route("/fhir/metadata", _metadata),
            Route("/fhir/{kind}", self.type_level, methods=["GET", "POST"]),
            Route("/fhir/{kind}/_search", self.search_by_form, methods=["POST"]),
            Route("/fhir/{kind}/{id}", self.instance, methods=["GET", "PUT"]),
            Route("/fhir/{kind}/{id}/_history/{version:int}", self.vread),
        ]
        return Starlette(routes=routes, exception_handlers={Refused: _refused})

    async def exchange(self, request: Request) -> Response:
        """POST of a transaction."""
        bundle = await request.json()
        if bundle.get("type") != "transaction":
            raise Refused(400, "processing", "HAPI-0527: Unable to process this Bundle type")
        if (early := await self._misbehave_before(bundle)) is not None:
            return early
        answers = self.store.transact(bundle.get("entry", []))
        if self._take("drop_observation"):
            self._forget_an_observation(answers)
        if self._take("lose_answer"):
            return PlainTextResponse("", 502)
        entries = [{"response": _response(each)} for each in answers]
        return _fhir({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})

    async def type_level(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        if request.method == "GET":
            return self._searchset(kind, parse_qsl(request.url.query, keep_blank_values=True))
        entry = {"resource": await request.json(), "request": {"method": "POST", "url": kind}}
        if criteria := request.headers.get("if-none-exist"):
            entry["request"]["ifNoneExist"] = criteria
        return _written(self.store.transact([entry])[0])

    async def search_by_form(self, request: Request) -> Response:
        form = (await request.body()).decode()
        return self._searchset(request.path_params["kind"], parse_qsl(form, keep_blank_values=True))

    async def instance(self, request: Request) -> Response:
        key = f"{request.path_params['kind']}/{request.path_params['id']}"
        if request.method == "GET":
            return _fhir(self.store.read(key))
        ask = {"method": "PUT", "url": key}
        if if_match := request.headers.get("if-match"):
            ask["ifMatch"] = if_match
        return _written(self.store.transact([{"resource": await request.json(), "request": ask}])[0])

    async def vread(self, request: Request) -> Response:
        key = f"{request.path_params['kind']}/{request.path_params['id']}"
        return _fhir(self.store.read(key, request.path_params["version"]))

    def _searchset(self, kind: str, query: Sequence[tuple[str, str]]) -> Response:
        matches = self.store.matches(kind, query)
        plain = dict(query)
        count, offset = int(plain.get("_count", 100)), int(plain.get("_offset", 0))
        shown = matches[offset : offset + count] if plain.get("_summary") != "count" else []
        entries = [{"resource": each, "search": {"mode": "match"}} for each in shown]
        for name, value in query:
            if name == "_include":
                entries += self._included(shown, value.split(":")[1])
        bundle: Json = {"resourceType": "Bundle", "type": "searchset", "total": len(matches)}
        return _fhir(bundle | ({"entry": entries} if entries else {}))

    def _included(self, matches: Sequence[Json], element: str) -> list[Json]:
        found: dict[str, Json] = {}
        for resource in matches:
            links = resource.get({"derived-from": "derivedFrom", "has-member": "hasMember"}.get(element, element), [])
            for link in links if isinstance(links, list) else [links]:
                found[link["reference"]] = self.store.read(link["reference"])
        return [{"resource": each, "search": {"mode": "include"}} for each in found.values()]

    # -------------------------------------------------------------------------------------------------------- faults

    async def set_faults(self, request: Request) -> Response:
        """Number of times that a fault strikes, e.g. {"lose_answer": 1, "unavailable": 2, "retry_after": 3}."""
        self.faults = await request.json()
        return JSONResponse(self.faults)

    async def counts(self, _: Request) -> Response:
        return JSONResponse(self.store.counts())

    def _take(self, name: str) -> bool:
        left = int(self.faults.get(name, 0))
        self.faults[name] = max(0, left - 1)
        return left > 0

    async def _misbehave_before(self, bundle: Json) -> Response | None:
        if delay := self.faults.get("delay_s"):
            await asyncio.sleep(float(delay))
        if self._take("unavailable"):
            return PlainTextResponse("", 503, {"Retry-After": str(self.faults.get("retry_after", 1))})
        if self._take("conflict"):
            raise Refused(409, "processing", "HAPI-2745: the operation lost against another one")
        if self.faults.get("refuse_labels") and any(
            "security" in entry["resource"].get("meta", {}) for entry in bundle["entry"]
        ):
            raise Refused(422, "processing", "Unknown code in meta.security")
        return None

    def _forget_an_observation(self, answers: Sequence[Json]) -> None:
        for each in answers:
            if each["resource"]["resourceType"] == "Observation":
                self.store._versions.pop(f"Observation/{each['resource']['id']}", None)
                return

    # ---------------------------------------------------------------------------------------------------------- page

    async def page(self, _: Request) -> Response:
        """Every report, for a person."""
        rows = "".join(self._row(report) for report in self.store.newest("DiagnosticReport"))
        return HTMLResponse(
            "<!doctype html><meta charset=utf-8><title>Demonstration EHR</title>"
            "<style>body{font:16px system-ui;margin:2rem auto;max-width:60rem;padding:0 1rem}"
            "p.warning{background:#fff3cd;padding:.6rem 1rem;border-left:.4rem solid #e69f00}"
            "section{border-top:1px solid #ccc;padding:1rem 0}table{border-collapse:collapse}"
            "td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}</style>"
            f"<h1>Demonstration EHR</h1><p class=warning>{escape(WARNING)}</p>"
            + (rows or "<p>No report has arrived yet.</p>")
        )

    def _row(self, report: Json) -> str:
        narrative = report.get("text", {}).get("div", "")  # ours; a real EHR would sanitise it
        link = f"/fhir/DiagnosticReport/{escape(report['id'])}"
        return (
            f"<section><h2><a href='{link}'>Report {escape(report['id'])}</a> · {escape(report['status'])}</h2>"
            f"<p>{escape(report.get('conclusion', ''))}</p>{_without_scripts(narrative)}</section>"
        )


def _without_scripts(narrative: str) -> str:
    """A narrative as XHTML is shown only if it has none of what FHIR forbids in one; otherwise as text."""
    lowered = narrative.lower()
    is_plain = not any(word in lowered for word in ("<script", "<style", "<iframe", "<object", " on", "javascript:"))
    return narrative if is_plain else f"<pre>{escape(narrative)}</pre>"


def _put(resource: Json) -> Json:
    return {"resource": resource, "request": {"method": "PUT", "url": f"{resource['resourceType']}/{resource['id']}"}}


def _response(answer: Json) -> Json:
    resource = answer["resource"]
    version = resource["meta"]["versionId"]
    return {
        "status": answer["status"],
        "location": f"{resource['resourceType']}/{resource['id']}/_history/{version}",
        "etag": version,
        "lastModified": resource["meta"]["lastUpdated"],
    }


def _written(answer: Json) -> Response:
    resource = answer["resource"]
    response = _fhir(resource, int(answer["status"].split()[0]))
    response.headers["Location"] = f"/fhir/{_response(answer)['location']}"
    response.headers["ETag"] = f'W/"{resource["meta"]["versionId"]}"'
    return response


def _fhir(resource: Json, status: int = 200) -> Response:
    return JSONResponse(resource, status, {"X-Demonstration": WARNING}, media_type="application/fhir+json")


async def _refused(_: Request, why: Exception) -> Response:
    assert isinstance(why, Refused)  # noqa: S101 - what it is registered for
    issue = {"severity": "error", "code": why.code, "diagnostics": why.text}
    return _fhir({"resourceType": "OperationOutcome", "issue": [issue]}, why.status)


async def _metadata(_: Request) -> Response:
    statement: Json = {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "experimental": True,
        "date": "2026-11-23",
        "kind": "instance",
        "implementation": {"description": WARNING},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "rest": [{"mode": "server", "interaction": [{"code": "transaction"}]}],
    }
    return _fhir(statement)


async def _live(_: Request) -> Response:
    return PlainTextResponse("live\n")
