"""An EHR with a FHIR R4 endpoint that takes transactions.

How this works. Exactly once is won at the EHR, not by us: search by identifier → decide → one transaction → read back.
Conditional creates guard against writers beside us; they are not trusted alone, since some servers duplicate under them
and others answer 409 to the losers of a race. A response that is lost after the write is found by the next search, and
a revision that arrived only in part is written again, under the same keys. What a person has signed or changed is never
overwritten; what a later revision no longer says is marked entered-in-error, never left standing.

Source: behaviour of HAPI FHIR 8.8.0, observed; FHIR R4 4.0.1, http and transaction.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import unquote

import httpx

from fundus_relay import metrics, tracing
from fundus_relay.adapters.bounded import ask
from fundus_relay.domain.errors import RecordRefused, RecordUnavailable
from fundus_relay.domain.packed import Packed
from fundus_relay.domain.values import Json, Written
from fundus_relay.fhir import names
from fundus_relay.fhir.carriage import Manner, carried, travelling, without, without_bytes
from fundus_relay.fhir.delivery_bundle import ENVELOPE, entries, identifier_of, is_withdrawn, token_of
from fundus_relay.fhir.marks import marked_entry, marked_resource
from fundus_relay.fhir.pages import is_overlay
from fundus_relay.fhir.withdrawn import ENTERED_IN_ERROR
from fundus_relay.pipeline.ports import Blobs
from fundus_relay.settings import Destination

from .answers import PreconditionFailed, check, moment, read_searchset

OURS_TO_CHANGE = frozenset({"registered", "partial", "preliminary"})
"""Statuses, of a report or an Observation, that no person has put a hand to."""

TOKENS_A_SEARCH = 15
PAGES_A_SEARCH = 20
LONGEST_ANSWER = 50_000_000
"""Bytes; a page of fifteen lesion maps with hundreds of boxes each has a tenth of that."""
IDENTIFIER = "identifier"
FHIR_JSON = "application/fhir+json"
_BINARY = re.compile(r"Binary/[A-Za-z0-9.-]{1,64}(?:/_history/[A-Za-z0-9.-]{1,64})?")


class FhirTransactionRecord:
    """See `ports.HealthRecord`."""

    def __init__(self, destination: Destination, client: httpx.AsyncClient, blobs: Blobs) -> None:
        """
        Args:
            blobs: where the pages lie that a report refers to.
        """
        self._base = destination.base_url.rstrip("/")
        self._client = client
        self._blobs = blobs
        self._manner = Manner(destination.pdf, destination.overlays)
        self._patience = 4 * destination.timeout
        self._ai_label, self._profiles = destination.ai_label, destination.profiles
        self._headers = {"Accept": FHIR_JSON}
        if destination.bearer_token is not None:
            self._headers["Authorization"] = f"Bearer {destination.bearer_token.get_secret_value()}"

    async def publish(self, resources: Sequence[Json], *, revision: int) -> Written:
        return await self._publish(Packed.of(resources))

    async def _publish(self, resources: Packed) -> Written:
        pages = await self._pages(resources)
        lacking = dict(without_bytes(resources, self._manner, pages))
        resources = carried(resources, self._manner, pages)
        with tracing.span("search"):
            known = await self._search(resources)
            resources = await self._with_names_at_ehr(resources)
            resources, left_alone = await self._left_alone(resources, lacking, known)
        report = resources.heads[0]
        at_ehr = known.get(_name(report))
        if at_ehr is not None:
            age = moment(at_ehr.get("issued")) - moment(report["issued"])
            is_whole = age == timedelta(0) and await self._missing(resources, known, left_alone) is None
            if lacking and at_ehr.get("status") in OURS_TO_CHANGE:  # or it refers to a picture that is gone since then
                is_whole = is_whole and len(_dicts(at_ehr.get("media"))) <= len(report["media"])
            if is_whole and not _is_of_nobody(at_ehr):
                return Written(at_ehr["id"])
            _refuse_signed(known)
            if age > timedelta(0):
                return Written(at_ehr["id"], superseded=True)
        withdrawn = await self._no_longer_said(at_ehr, known) if at_ehr else Packed()
        with tracing.span("write"):
            await self._write(resources, known, withdrawn, left_alone)
        with tracing.span("read back"):
            return await self._read_back(resources, left_alone)

    async def _left_alone(
        self, resources: Packed, lacking: Mapping[str, bool], known: Mapping[str, Json]
    ) -> tuple[Packed, AbstractSet[str]]:
        """What is written, and the overlays that stay as the EHR has them, because their bytes are not here any more.

        One that was purged, and that the EHR does not have either, is not referred to.

        Args:
            lacking: as `without_bytes` tells.
        """
        told = {_name(each): each for each in resources.heads}
        stay = {name for name in lacking if name in told and await self._shows(told[name], resources, known)}
        gone = {name for name, is_purged in lacking.items() if is_purged and name not in stay}
        wrong = {name for name in gone if known.get(name, {}).get("status") == "completed"}
        return without(resources, gone, wrong), stay

    async def _shows(self, overlay: Json, resources: Packed, known: Mapping[str, Json]) -> bool:
        """Whether the EHR has this very picture of this patient's eye, as far as can be told without having it here."""
        at_ehr, report = known.get(_name(overlay), {}), known.get(_name(resources.heads[0]), {})
        content = at_ehr.get("content")
        if at_ehr.get("status") != overlay["status"] or not isinstance(content, dict):
            return False
        if _literal(at_ehr.get("subject")) != _literal(report.get("subject", at_ehr.get("subject"))):
            return False
        if _is_of_other_eye(overlay, at_ehr):
            return False
        if content.get("hash", overlay["content"]["hash"]) != overlay["content"]["hash"]:
            return False
        place = str(content.get("url", "")).removeprefix(f"{self._base}/")
        return "data" in content or (await self._has(place) if _BINARY.fullmatch(place) else bool(place))

    async def _pages(self, resources: Packed) -> dict[str, bytes]:
        """The bytes of the pages that go along, by Binary id. One that is lost is linked to, and keeps nothing back.

        Raises: StoreUnavailable.
        """
        pages: dict[str, bytes] = {}
        for page, digest in travelling(resources, self._manner):
            with suppress(KeyError):
                pages[page] = await self._blobs.get(digest)
        return pages

    async def _write(
        self, resources: Packed, known: Mapping[str, Json], withdrawn: Packed, left_alone: AbstractSet[str]
    ) -> None:
        try:
            pieces = await asyncio.to_thread(lambda: list(self._transaction(resources, known, withdrawn, left_alone)))
            await self._ask("POST", "", content=pieces)
        except PreconditionFailed as why:
            # a race that we lost shows in what is there now; two of one thing are refused by the search itself
            if await self._search(resources) == known:
                raise RecordRefused(str(why)) from why
            raise

    def _transaction(
        self, resources: Packed, known: Mapping[str, Json], withdrawn: Packed, left_alone: AbstractSet[str]
    ) -> Iterator[bytes]:
        """The text of the transaction, entry by entry: all of it as objects is many times as large."""
        envelope = marked_resource(ENVELOPE, ai_label=self._ai_label, profiles=self._profiles)
        yield f'{_text(envelope)[:-1]},"entry":['.encode()
        for number, entry in enumerate(entries(resources, known, withdrawn, self._base, left_alone)):
            told = marked_entry(entry, ai_label=self._ai_label, profiles=self._profiles)
            yield f"{',' if number else ''}{_text(told)}".encode()
        yield b"]}"

    async def _read_back(self, resources: Packed, left_alone: AbstractSet[str]) -> Written:
        """See that the EHR holds this revision, whole. Raises RecordUnavailable when it does not (yet)."""
        known = await self._search(resources)
        if (missing := await self._missing(resources, known, left_alone)) is not None:
            raise RecordUnavailable(f"read-back: {missing}")
        if _is_of_nobody(known[_name(resources.heads[0])]):
            raise RecordRefused("patient-not-resolved: the EHR keeps our search for the patient instead of the patient")
        return Written(known[_name(resources.heads[0])]["id"])

    async def _missing(self, resources: Packed, known: Mapping[str, Json], left_alone: AbstractSet[str]) -> str | None:
        """What the EHR lacks of this revision, or None when it is there, whole."""
        if (missing := _missing(resources.heads, known, left_alone)) is not None:
            return missing
        for each in resources.heads:
            if each["resourceType"] == "Binary" and not await self._has(_name(each)):
                return "a Binary is missing"
            if _name(each) in left_alone and not await self._shows(each, resources, known):
                return "a picture with boxes is missing"
        return None

    async def _has(self, page: str) -> bool:
        """Whether a Binary, which nothing can be searched for by, is there."""
        try:
            await self._ask("GET", f"/{page}")
        except RecordRefused:
            return False
        return True

    async def _with_names_at_ehr(self, resources: Packed) -> Packed:
        """The same with every order, visit or study that is known by identifier named as the EHR can take it.

        By its id if the EHR has just one; else by the identifier alone, which asks for nothing to be there. Only the
        patient stays a search that must be of one: a report without its patient is none.
        """
        named: dict[str, Json] = {}
        for literal in dict.fromkeys(_searches(resources.heads)):  # components refer to the photograph alone
            kind, _, criterion = literal.partition(f"?{IDENTIFIER}=")
            found = await self._matches(kind, IDENTIFIER, [unquote(criterion)])
            is_one = len(found) == 1
            named[literal] = (
                {"reference": _name(found[0])} if is_one else {"type": kind, IDENTIFIER: identifier_of(criterion)}
            )
        return resources.mapped(lambda each: dict(_renamed(each, named))) if named else resources

    async def _no_longer_said(self, at_ehr: Json, known: Mapping[str, Json]) -> Packed:
        """Observations of ours that the report at the EHR has and this revision has not."""
        still = {each["id"] for each in known.values() if each["resourceType"] == "Observation"}
        gone = [id for id in _result_ids(at_ehr) if id not in still]
        found = Packed()
        for start in range(0, len(gone), TOKENS_A_SEARCH):
            ids = gone[start : start + TOKENS_A_SEARCH]
            for each in await self._matches("Observation", "_id", ids):
                found.append(each)
        return found.mapped(
            lambda each: (
                each
                if each["id"] in gone
                and each.get("status") in OURS_TO_CHANGE
                and any(system == names.SID_RESULT for system, _ in _keys(each))
                else None
            )
        )

    async def _search(self, resources: Packed) -> dict[str, Json]:
        """What the EHR holds of these, by our `Type/id`; of lesions, that they are there."""
        found: dict[str, Json] = {}
        for kind in dict.fromkeys(each["resourceType"] for each in resources.heads if "identifier" in each):
            ours = {_keys(each)[0]: each for each in resources.heads if each["resourceType"] == kind}
            tokens = [token_of(each) for each in ours.values()]
            for start in range(0, len(tokens), TOKENS_A_SEARCH):
                for each in await self._matches(kind, "identifier", tokens[start : start + TOKENS_A_SEARCH]):
                    if (mine := next((ours[key] for key in _keys(each) if key in ours), None)) is None:
                        continue
                    if found.setdefault(_name(mine), _without_boxes(each))["id"] != each["id"]:
                        raise RecordRefused(f"duplicate-at-ehr: two {kind} have the identifier {_keys(mine)[0][1]}")
        return found

    async def _matches(self, kind: str, parameter: str, values: Sequence[str]) -> list[Json]:
        """All of them, page by page."""
        query = {parameter: ",".join(values), "_count": str(2 * len(values) + 2)}
        page = read_searchset(await self._ask("GET", f"/{kind}", params=query))
        found = list(page.resources)
        for _ in range(PAGES_A_SEARCH):
            if (following := page.next_page) is None:
                return [each for each in found if each["resourceType"] == kind]
            if not following.startswith((f"{self._base}/", f"{self._base}?")):
                raise RecordRefused("search-leads-elsewhere: the next page of a search is not below the EHR's base URL")
            page = read_searchset(await self._ask("GET", following.removeprefix(self._base)))
            found += page.resources
        raise RecordRefused(f"search-not-selective: the EHR finds too many {kind} by {parameter}")

    async def _ask(
        self, method: str, path: str, *, params: dict[str, str] | None = None, content: Sequence[bytes] = ()
    ) -> httpx.Response:
        with metrics.timed(metrics.record_seconds, _operation(method, path)):
            return await self._asked(method, path, params, content)

    async def _asked(
        self, method: str, path: str, params: dict[str, str] | None, content: Sequence[bytes]
    ) -> httpx.Response:
        length = {"Content-Type": FHIR_JSON, "Content-Length": str(sum(map(len, content)))}
        traced = {"traceparent": own} if (own := tracing.own()) else {}
        headers = {**self._headers, **traced, **(length if content else {})}
        try:
            request = self._client.build_request(
                method, self._base + path, params=params, content=_sent(content) if content else None, headers=headers
            )
            answer = await ask(self._client, request, longest=LONGEST_ANSWER, within=self._patience)
        except (httpx.HTTPError, TimeoutError) as exc:
            raise RecordUnavailable(f"the EHR: {type(exc).__name__}") from exc
        check(answer)
        return answer


async def _sent(content: Sequence[bytes]) -> AsyncIterator[bytes]:
    """In pieces, so that no copy of the whole is made on its way to the socket."""
    for piece in content:
        yield piece


def _text(part: Json) -> str:
    return json.dumps(part, ensure_ascii=False, separators=(",", ":"))


def _without_boxes(at_ehr: Json) -> Json:
    return {name: value for name, value in at_ehr.items() if name != "component"}


def _operation(method: str, path: str) -> str:
    """What a call is, without ids."""
    found = re.match(r"/([A-Z][A-Za-z]{1,40})(?:/|$)", path)
    return f"{method} {found[1]}" if found else "transaction" if method == "POST" else "next page"


def _missing(resources: Sequence[Json], known: Mapping[str, Json], left_alone: AbstractSet[str]) -> str | None:
    """What the EHR lacks of this revision, or None when it is there, whole."""
    report = resources[0]
    at_ehr = known.get(_name(report))
    if at_ehr is None or moment(at_ehr.get("issued")) != moment(report["issued"]):
        return "the EHR does not show this revision"
    observations = [known.get(_name(each)) for each in resources if each["resourceType"] == "Observation"]
    present = [each for each in observations if each is not None]
    if len(present) < len(observations):
        return "an Observation is missing"
    if any(moment(each["issued"]) != moment(report["issued"]) for each in present if "issued" in each):
        return "an Observation is of another revision"
    if sorted(_result_ids(at_ehr)) != sorted(each["id"] for each in present):
        return "the report does not refer to its Observations"
    if (lacking := _missing_page(resources, at_ehr, known, left_alone)) is not None:
        return lacking
    subject = _literal(at_ehr.get("subject"))
    if not subject or any(_literal(each.get("subject")) != subject for each in present):
        return "the report and its Observations are not about one patient"
    return None


def _missing_page(
    resources: Sequence[Json], at_ehr: Json, known: Mapping[str, Json], left_alone: AbstractSet[str]
) -> str | None:
    """What the EHR lacks of what people look at and is written."""
    for form in resources[0].get("presentedForm", []):
        if not any(map(partial(_is_same_file, form), _dicts(at_ehr.get("presentedForm")))):
            return "the report has not its PDF"
    for overlay in (each for each in resources if is_overlay(each) and each["status"] != ENTERED_IN_ERROR):
        if _name(overlay) in left_alone:
            continue
        held = known.get(_name(overlay))
        if held is None or not _is_same_file(overlay["content"], held.get("content")):
            return "a picture with boxes is missing"
    return None


def _is_same_file(sent: Json, held: Any) -> bool:  # Any: whatever an EHR shows
    """Whether an attachment is the one that was sent, by whichever mark of it the EHR has kept."""
    marks = ("hash", "url", "data")
    return isinstance(held, dict) and any(name in sent and sent[name] == held.get(name) for name in marks)


def _is_of_other_eye(sent: Json, held: Json) -> bool:
    """Whether somebody gave a picture another eye than the one that is written on it; codes of others tell nothing."""
    ours = {each["system"]: each["code"] for each in sent["bodySite"]["coding"]}
    site = held.get("bodySite")
    codings = _dicts(site.get("coding")) if isinstance(site, dict) else []
    theirs = [each for each in codings if each.get("system") in ours]
    return bool(theirs) and all(each.get("code") != ours[each["system"]] for each in theirs)


def _dicts(part: Any) -> list[Json]:  # Any: as above
    return [each for each in part if isinstance(each, dict)] if isinstance(part, list) else []


def _searches(part: Any) -> Iterator[str]:  # Any: any part of a FHIR resource
    """Conditional references by identifier to anything but a patient."""
    if isinstance(part, Mapping):
        literal = part.get("reference")
        if isinstance(literal, str) and f"?{IDENTIFIER}=" in literal and not literal.startswith("Patient?"):
            yield literal
    for each in part.values() if isinstance(part, Mapping) else part if isinstance(part, list | tuple) else ():
        yield from _searches(each)


def _renamed(part: Any, named: Mapping[str, Json]) -> Any:  # Any: as above
    if isinstance(part, list):
        return [_renamed(item, named) for item in part]
    if not isinstance(part, dict):
        return part
    if (name := named.get(str(part.get("reference")))) is not None:
        return {key: value for key, value in part.items() if key != "reference"} | name
    return {key: _renamed(value, named) for key, value in part.items()}


def _is_of_nobody(report: Json) -> bool:
    """Whether the patient is still the search that R4 would have the EHR replace, so that nobody's chart shows this."""
    return "?" in _literal(report.get("subject"))


def _refuse_signed(known: Mapping[str, Json]) -> None:
    """Raises RecordRefused when a person has signed, changed or withdrawn what we are about to write."""
    for each in known.values():
        is_ours = each.get("status") in OURS_TO_CHANGE or is_withdrawn(each)
        if each["resourceType"] in {"DiagnosticReport", "Observation"} and not is_ours:
            raise RecordRefused(f"report-signed: {_name(each)} has the status {each.get('status')} at the EHR")


def _result_ids(report: Json) -> list[str]:
    return [_literal(each).rpartition("/")[2] for each in report.get("result", [])]


def _literal(reference: Json | None) -> str:
    """`Type/id` of a reference, without base and version."""
    literal = str((reference or {}).get("reference", "")).partition("/_history/")[0]
    return "/".join(literal.split("/")[-2:])


def _keys(resource: Json) -> list[tuple[str, str]]:
    return [(each.get("system", ""), each.get("value", "")) for each in resource.get("identifier", [])]


def _name(resource: Json) -> str:
    return f"{resource['resourceType']}/{resource['id']}"
