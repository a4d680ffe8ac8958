"""An EHR with a FHIR R4 endpoint that takes transactions.

How this works. Exactly once is won at the EHR, not by us: search by identifier → decide → one transaction → read back.
Conditional creates guard against writers beside us; they are not trusted alone, since some servers duplicate under them
and others answer 409 to the losers of a race. A response that is lost after the write is found by the next search. What
a person has signed or changed is never overwritten.

Source: behaviour of HAPI FHIR 8.8.0, observed; FHIR R4 4.0.1, http and transaction.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from fundus_relay.domain.errors import RecordRefused, RecordUnavailable
from fundus_relay.domain.values import Json, Written
from fundus_relay.fhir.delivery_bundle import delivery_bundle, token_of
from fundus_relay.settings import Destination

OURS_TO_CHANGE = frozenset({"registered", "partial", "preliminary"})
"""Report statuses that no person has put a hand to."""

TOKENS_A_SEARCH = 15
FHIR_JSON = "application/fhir+json"

_LATER = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})
_HAPI = re.compile(r"\bHAPI-\d{3,5}\b")


class FhirTransactionRecord:
    """See `ports.HealthRecord`."""

    def __init__(self, destination: Destination, client: httpx.AsyncClient) -> None:
        self._base = destination.base_url.rstrip("/")
        self._client = client
        self._headers = {"Accept": FHIR_JSON}
        if destination.bearer_token is not None:
            self._headers["Authorization"] = f"Bearer {destination.bearer_token.get_secret_value()}"

    async def publish(self, resources: Sequence[Json], *, revision: int) -> Written:
        report = resources[0]
        known = await self._search(resources)
        at_ehr = known.get(f"DiagnosticReport/{report['id']}")
        if at_ehr is not None:
            age = _moment(at_ehr.get("issued")) - _moment(report["issued"])
            if age > timedelta(0):
                return Written(at_ehr["id"], superseded=True)
            if age == timedelta(0):
                return _read_back(resources, known)
            if at_ehr.get("status") not in OURS_TO_CHANGE:
                raise RecordRefused(f"report-signed: its status at the EHR is {at_ehr.get('status')}")
        await self._write(delivery_bundle(resources, known, self._base))
        return _read_back(resources, await self._search(resources))

    async def _search(self, resources: Sequence[Json]) -> dict[str, Json]:
        """What the EHR holds of these, by our `Type/id`."""
        found: dict[str, Json] = {}
        for kind in dict.fromkeys(each["resourceType"] for each in resources if "identifier" in each):
            ours = {_key(each): each for each in resources if each["resourceType"] == kind}
            tokens = [token_of(each) for each in ours.values()]
            for start in range(0, len(tokens), TOKENS_A_SEARCH):
                for each in await self._matches(kind, tokens[start : start + TOKENS_A_SEARCH]):
                    if (mine := next((ours[key] for key in _keys(each) if key in ours), None)) is None:
                        continue
                    name = f"{kind}/{mine['id']}"
                    if name in found and found[name]["id"] != each["id"]:
                        raise RecordRefused(f"duplicate-at-ehr: two {kind} have the identifier {_key(mine)[1]}")
                    found[name] = each
        return found

    async def _matches(self, kind: str, tokens: Sequence[str]) -> Sequence[Json]:
        # twice as many as we ask for, so that a duplicate is seen
        query = {"identifier": ",".join(tokens), "_count": str(2 * len(tokens) + 2)}
        answer = await self._send("GET", f"/{kind}", params=query)
        return [
            entry["resource"]
            for entry in _json(answer).get("entry", [])
            if entry.get("resource", {}).get("resourceType") == kind
        ]

    async def _write(self, bundle: Json) -> None:
        body = json.dumps(bundle, ensure_ascii=False).encode()
        await self._send("POST", "", content=body, headers={"Content-Type": FHIR_JSON})

    async def _send(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """Raises RecordUnavailable when the same may succeed later, RecordRefused when it will not."""
        try:
            answer = await self._client.request(
                method, self._base + path, params=params, content=content, headers={**self._headers, **(headers or {})}
            )
        except httpx.HTTPError as exc:
            raise RecordUnavailable(f"the EHR: {type(exc).__name__}") from exc
        if answer.is_success:
            return answer
        if answer.status_code in _LATER:
            raise RecordUnavailable(f"the EHR answers {answer.status_code}", retry_after=_retry_after(answer))
        raise RecordRefused(f"the EHR answers {answer.status_code} {_scrubbed(answer)}".strip())


def _read_back(resources: Sequence[Json], known: dict[str, Json]) -> Written:
    """See that the EHR holds this revision, whole. Raises RecordUnavailable when it does not (yet)."""
    report = resources[0]
    at_ehr = known.get(f"DiagnosticReport/{report['id']}")
    if at_ehr is None or _moment(at_ehr.get("issued")) != _moment(report["issued"]):
        raise RecordUnavailable("read-back: the EHR does not show this revision")
    if len(at_ehr.get("result", [])) != len(report["result"]) or "subject" not in at_ehr:
        raise RecordUnavailable("read-back: the report at the EHR is not whole")
    for each in resources:
        if each["resourceType"] == "Observation" and f"Observation/{each['id']}" not in known:
            raise RecordUnavailable("read-back: an Observation is missing at the EHR")
    return Written(at_ehr["id"])


def _keys(resource: Json) -> list[tuple[str, str]]:
    return [(each.get("system", ""), each.get("value", "")) for each in resource.get("identifier", [])]


def _key(resource: Json) -> tuple[str, str]:
    return _keys(resource)[0]


def _moment(value: object) -> datetime:
    """A FHIR instant; whatever is none counts as long ago, so that ours is the later one."""
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def _json(answer: httpx.Response) -> Json:
    try:
        body = answer.json()
    except ValueError as exc:
        raise RecordUnavailable("the EHR's answer is no JSON") from exc
    return body if isinstance(body, dict) else {}


def _retry_after(answer: httpx.Response) -> timedelta | None:
    """Seconds or an HTTP date."""
    stated = answer.headers.get("retry-after", "")
    if stated.isascii() and stated.isdigit():
        return timedelta(seconds=int(stated))
    try:
        return max(timedelta(0), parsedate_to_datetime(stated) - datetime.now(UTC))
    except (TypeError, ValueError):
        return None


def _scrubbed(answer: httpx.Response) -> str:
    """What an OperationOutcome says without what it may quote: codes, element paths, HAPI's message numbers."""
    try:
        issues = answer.json().get("issue", [])
    except (ValueError, AttributeError):
        return ""
    told: list[str] = []
    for issue in issues[:5] if isinstance(issues, list) else []:
        told += [str(issue.get("code", ""))[:40], *_HAPI.findall(str(issue.get("diagnostics", "")))]
        told += [path[:120] for path in issue.get("expression", [])[:3] if re.fullmatch(r"[\w.\[\]():]+", path)]
    return " ".join(dict.fromkeys(filter(None, told)))
