"""A small FHIR R4 server that plays the EHR. For demonstration and tests only: no users, no rights, no validation.

It behaves as HAPI FHIR 8.8.0 was observed to where that matters to a sender of reports, and it can misbehave on
request (`POST /admin/faults`), so that tests see what becomes of a report then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .ehr_page import page
from .ehr_store import WARNING, Json, Refused, Store, linked

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
            Route("/fhir/{kind}/{id}", self.instance, methods=["GET", "PUT", "DELETE"]),
            Route("/fhir/{kind}/{id}/_history/{version:int}", self.vread),
        ]
        return Starlette(routes=routes, exception_handlers={Refused: _refused})

    async def exchange(self, request: Request) -> Response:
        """POST of a transaction."""
        bundle = await _resource(request)
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
            return self._searchset(request, kind, parse_qsl(request.url.query, keep_blank_values=True))
        entry: Json = {"resource": await _resource(request), "request": {"method": "POST", "url": kind}}
        if criteria := request.headers.get("if-none-exist"):
            entry["request"]["ifNoneExist"] = criteria
        return _written(self.store.transact([entry])[0])

    async def search_by_form(self, request: Request) -> Response:
        form = (await request.body()).decode()
        return self._searchset(request, request.path_params["kind"], parse_qsl(form, keep_blank_values=True))

    async def instance(self, request: Request) -> Response:
        key = f"{request.path_params['kind']}/{request.path_params['id']}"
        if request.method == "GET":
            return _fhir(self.store.read(key))
        if request.method == "DELETE":
            self.store.delete(key)
            return Response(status_code=204)
        ask = {"method": "PUT", "url": key}
        if if_match := request.headers.get("if-match"):
            ask["ifMatch"] = if_match
        return _written(self.store.transact([{"resource": await _resource(request), "request": ask}])[0])

    async def vread(self, request: Request) -> Response:
        key = f"{request.path_params['kind']}/{request.path_params['id']}"
        return _fhir(self.store.read(key, request.path_params["version"]))

    def _searchset(self, request: Request, kind: str, query: Sequence[tuple[str, str]]) -> Response:
        matches = self.store.matches(kind, query)
        plain = dict(query)
        count, offset = int(plain.get("_count", 100)), int(plain.get("_offset", 0))
        count = min(count, int(self.faults.get("page_size", count)))
        shown = matches[offset : offset + count] if plain.get("_summary") != "count" else []
        entries = [{"resource": each, "search": {"mode": "match"}} for each in shown]
        for name, value in query:
            if name == "_include":
                entries += self._included(shown, value.split(":")[1])
        bundle: Json = {"resourceType": "Bundle", "type": "searchset", "total": len(matches)}
        if shown and offset + count < len(matches):
            rest = [(name, value) for name, value in query if name != "_offset"]
            following = request.url.replace(path=f"/fhir/{kind}", query=urlencode([*rest, ("_offset", offset + count)]))
            bundle["link"] = [{"relation": "next", "url": str(following)}]
        return _fhir(bundle | ({"entry": entries} if entries else {}))

    def _included(self, matches: Sequence[Json], parameter: str) -> list[Json]:
        found: dict[str, Json] = {}
        for resource in matches:
            for name in linked(resource, parameter):
                if self.store.has(name):
                    found[name] = self.store.read(name)
        return [{"resource": each, "search": {"mode": "include"}} for each in found.values()]

    # -------------------------------------------------------------------------------------------------------- faults

    async def set_faults(self, request: Request) -> Response:
        """How often each fault strikes from now on, e.g. {"lose_answer": 1, "unavailable": 2, "retry_after": 3}.

        `unavailable` (503 with Retry-After), `conflict` (409, as to the loser of a race), `precondition` (412),
        `lose_answer` (502 after the write), `drop_observation` (lost after the write), `refuse_labels` (422 for
        meta.security, while it is not 0), `refused_status` (401, say, to every transaction while it is set),
        `delay_s` (each transaction takes as long), `page_size` (of searches).
        """
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
        if status := self.faults.get("refused_status"):
            raise Refused(int(status), "security", "the token is not taken")
        if self._take("unavailable"):
            return PlainTextResponse("", 503, {"Retry-After": str(self.faults.get("retry_after", 1))})
        if self._take("conflict"):
            raise Refused(409, "processing", "HAPI-2745: the operation lost against another one")
        if self._take("precondition"):
            raise Refused(412, "processing", "HAPI-0958: Failed to CREATE: this search matched 2 resources")
        labelled = [each for each in bundle.get("entry", []) if "security" in each["resource"].get("meta", {})]
        if self.faults.get("refuse_labels") and labelled:
            place = f"Bundle.entry[{bundle['entry'].index(labelled[0])}].resource.meta.security[0]"
            raise Refused(422, "processing", "Unknown code in the value set of security labels", place)
        return None

    def _forget_an_observation(self, answers: Sequence[Json]) -> None:
        lost = next(each["resource"] for each in answers if each["resource"]["resourceType"] == "Observation")
        self.store.forget(f"Observation/{lost['id']}")

    async def page(self, _: Request) -> Response:
        """Every report, for a person."""
        return HTMLResponse(page(self.store))


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


async def _resource(request: Request) -> Json:
    try:
        body = await request.json()
    except ValueError as exc:
        raise Refused(400, "processing", "HAPI-0450: Failed to parse request body as JSON resource") from exc
    if not isinstance(body, dict):
        raise Refused(400, "processing", "HAPI-0450: Failed to parse request body: no JSON object")
    return body


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
    issue: Json = {"severity": "error", "code": why.code, "diagnostics": why.text}
    issue |= {"location": [why.element]} if why.element else {}
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
