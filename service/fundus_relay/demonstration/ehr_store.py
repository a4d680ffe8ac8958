"""The demonstration EHR's resources: every version, in memory, and in a file when one is given.

Transactions are all or nothing, criteria are resolved, `urn:uuid` references rewritten, references must lead somewhere,
and an identifier is not unique unless a condition asks for it: as HAPI FHIR 8.8.0 was observed to do.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

Json = dict[str, Any]  # a FHIR resource

WARNING = "Demonstration EHR of Fundus Relay. For demonstration and tests only; no real patients."

LINKS = {"patient": "subject", "subject": "subject", "based-on": "basedOn", "result": "result", "focus": "focus"}
LINKS |= {"derived-from": "derivedFrom", "device": "device", "target": "target", "has-member": "hasMember"}
_PARAMETERS = frozenset({"_id", "identifier", "status", *LINKS})


class Refused(Exception):
    """A request that this server does not do, with the status and the words of its answer."""

    def __init__(self, status: int, code: str, text: str, element: str = "") -> None:
        super().__init__(text)
        self.status, self.code, self.text, self.element = status, code, text, element


class Store:
    """Resources by `Type/id`."""

    def __init__(self, file: Path | None) -> None:
        self._versions: dict[str, list[Json]] = {}
        self._deleted: set[str] = set()
        self._numbers = 0
        self._db = sqlite3.connect(file or ":memory:", isolation_level=None, check_same_thread=False)
        self._db.execute("create table if not exists version (key text, number integer, body text)")
        for key, body in self._db.execute("select key, body from version order by rowid"):
            self._versions.setdefault(key, []).append(json.loads(body))
        self._numbers = sum(map(len, self._versions.values()))

    # ------------------------------------------------------------------------------------------------------- reading

    def read(self, key: str, version: int | None = None) -> Json:
        versions = self._versions.get(key, [])
        if not versions and key in self._deleted:
            raise Refused(410, "deleted", f"HAPI-0387: Resource was deleted: {key}")
        if not versions or (version is not None and not 1 <= version <= len(versions)):
            raise Refused(404, "not-found", f"Resource {key} is not known")
        return versions[-1 if version is None else version - 1]

    def has(self, key: str) -> bool:
        return bool(self._versions.get(key))

    def newest(self, kind: str) -> Iterator[Json]:
        """In the order in which they were made."""
        prefix = f"{kind}/"
        return (versions[-1] for key, versions in self._versions.items() if key.startswith(prefix))

    def counts(self) -> dict[str, int]:
        kinds: dict[str, int] = {}
        for key in self._versions:
            kind = key.partition("/")[0]
            kinds[kind] = kinds.get(kind, 0) + 1
        return kinds

    def matches(self, kind: str, query: Sequence[tuple[str, str]]) -> list[Json]:
        """Resources that meet all parameters; a comma separates alternatives."""
        tests = [(name, _alternatives(value)) for name, value in query if not name.startswith("_") or name == "_id"]
        for name, _ in tests:
            if name not in _PARAMETERS:
                raise Refused(400, "processing", f'HAPI-0524: Unknown search parameter "{name}" for {kind}')
        return [each for each in self.newest(kind) if all(self._meets(each, name, values) for name, values in tests)]

    def _meets(self, resource: Json, name: str, values: Sequence[str]) -> bool:
        match name:
            case "_id":
                return resource["id"] in values
            case "identifier":
                return any(_has_identifier(resource, value) for value in values)
            case "status":
                return resource.get("status") in values
        found = linked(resource, name)
        return any(value in found or f"Patient/{value}" in found for value in values)

    # ------------------------------------------------------------------------------------------------------- writing

    def forget(self, key: str) -> None:
        """Lose a resource, as no server should."""
        self._versions.pop(key, None)
        self._db.execute("delete from version where key = ?", [key])

    def delete(self, key: str) -> None:
        """Let a resource go for good, whatever refers to it; whoever asks for it hears so."""
        self.forget(key)
        self._deleted.add(key)

    def transact(self, entries: Sequence[Json]) -> list[Json]:
        """Do all of them or none; returns the stored resources with the status of each, in request order."""
        kept, numbers = {key: list(versions) for key, versions in self._versions.items()}, self._numbers
        self._db.execute("begin")
        try:
            answers = self._write(entries)
        except BaseException:
            self._versions, self._numbers = kept, numbers
            self._db.execute("rollback")
            raise
        self._db.execute("commit")
        return answers

    def _write(self, entries: Sequence[Json]) -> list[Json]:
        plans = [self._plan(entry) for entry in entries]
        first: dict[tuple[str, str], str] = {}
        for plan in plans:  # of several creates on one condition the first is done, and alone is answered
            if plan["condition"] is not None:
                plan["key"] = first.setdefault(plan["condition"], plan["key"])
        names = {plan["full_url"]: plan["key"] for plan in plans if plan["full_url"]}
        if len(names) != sum(1 for plan in plans if plan["full_url"]):
            raise Refused(400, "processing", "HAPI-0534: Transaction bundle contains multiple resources with one ID")
        arriving = {plan["key"] for plan in plans}
        answers: list[Json] = []
        done: set[str] = set()
        for plan in plans:
            if plan["condition"] is not None and plan["key"] in done:
                continue
            done.add(plan["key"])
            if plan["found"] is not None:
                answers.append({"status": "200 OK", "resource": plan["found"]})
                continue
            resource = self._linked(deepcopy(plan["resource"]), names, arriving)
            status = "201 Created" if plan["key"] not in self._versions else "200 OK"
            answers.append({"status": status, "resource": self._keep(plan["key"], resource)})
        return answers

    def _plan(self, entry: Json) -> Json:
        """Where an entry will be stored, or what it found."""
        request, resource = entry.get("request", {}), entry.get("resource", {})
        kind = resource.get("resourceType", "")
        plan: Json = {"full_url": entry.get("fullUrl"), "resource": resource, "found": None, "condition": None}
        if not isinstance(kind, str) or not kind:
            raise Refused(400, "processing", "HAPI-1838: Invalid JSON content detected, missing resourceType")
        if request.get("method") == "POST":
            criteria = request.get("ifNoneExist")
            found = self._conditional(kind, criteria)
            plan["condition"] = (kind, criteria) if criteria else None
            self._numbers += found is None
            return {**plan, "found": found, "key": f"{kind}/{found['id'] if found else f'e{self._numbers}'}"}
        if request.get("method") == "PUT" and "?" not in request.get("url", "?"):
            key = request["url"]
            _check_version(self._versions.get(key, []), request.get("ifMatch"), key)
            return {**plan, "key": key}
        raise Refused(400, "processing", "HAPI-0529: only POST and PUT of a known id are supported here")

    def _conditional(self, kind: str, criteria: str | None) -> Json | None:
        if not criteria:
            return None
        found = self.matches(kind, parse_qsl(criteria.rpartition("?")[2], keep_blank_values=True))
        if len(found) > 1:
            raise Refused(412, "processing", f"HAPI-0958: Failed to CREATE {kind}: this search matched {len(found)}")
        return found[0] if found else None

    def _linked(self, part: Any, names: dict[str, str], arriving: set[str]) -> Any:  # Any: any part of a resource
        """The same with every reference led to where it is stored here."""
        if isinstance(part, list):
            return [self._linked(item, names, arriving) for item in part]
        if not isinstance(part, dict):
            return part
        linked = {key: self._linked(value, names, arriving) for key, value in part.items()}
        if isinstance(literal := linked.get("reference"), str) and not literal.startswith("#"):
            linked["reference"] = self._target(literal, names, arriving)
        return linked

    def _target(self, literal: str, names: dict[str, str], arriving: set[str]) -> str:
        if literal in names:
            return names[literal]
        if literal.startswith("urn:"):
            raise Refused(400, "processing", "HAPI-0541: Unable to satisfy placeholder ID")
        kind, is_criteria, criteria = literal.partition("?")
        if is_criteria:
            found = self.matches(kind, parse_qsl(criteria, keep_blank_values=True))
            if len(found) != 1:
                status = 400 if found else 404
                raise Refused(status, "processing", f"HAPI-1091: Invalid match URL: {len(found)} resources match")
            return f"{kind}/{found[0]['id']}"
        if literal.startswith(("http://", "https://")) or literal in arriving or literal in self._versions:
            return literal
        raise Refused(400, "processing", f"HAPI-1094: Resource {kind.partition('/')[0]} not found, specified in path")

    def _keep(self, key: str, resource: Json) -> Json:
        versions = self._versions.setdefault(key, [])
        kept: Json = {**resource, "id": key.partition("/")[2]}
        kept["meta"] = {key: value for key, value in kept.get("meta", {}).items() if key not in _OURS}
        if versions and _bare(versions[-1]) == _bare(kept):
            return versions[-1]
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        kept["meta"] |= {"versionId": str(len(versions) + 1), "lastUpdated": now}
        versions.append(kept)
        self._db.execute("insert into version values (?, ?, ?)", [key, len(versions), json.dumps(kept)])
        return kept


_OURS = frozenset({"versionId", "lastUpdated"})


def _bare(resource: Json) -> Json:
    """Without what the server itself adds."""
    return {**resource, "meta": {key: value for key, value in resource.get("meta", {}).items() if key not in _OURS}}


def _check_version(versions: Sequence[Json], if_match: str | None, key: str) -> None:
    if if_match is not None and if_match.removeprefix("W/").strip('"') != str(len(versions)):
        raise Refused(409, "processing", f"HAPI-0989: Trying to update {key} but this is not the current version")


def _alternatives(value: str) -> list[str]:
    """Split at commas that are not escaped."""
    parts, part = [], ""
    for character in value:
        if character == "," and not part.endswith("\\"):
            parts.append(part)
            part = ""
        else:
            part += character
    return [*parts, part]


def _has_identifier(resource: Json, wanted: str) -> bool:
    plain = wanted.replace("\\|", "\0")
    system, is_full, value = plain.rpartition("|")
    value = value.replace("\0", "|").replace("\\,", ",").replace("\\$", "$").replace("\\\\", "\\")
    stated = resource.get("identifier", [])
    return any(
        each.get("value") == value and (not is_full or each.get("system", "") == system)
        for each in (stated if isinstance(stated, list) else [stated])
    )


def linked(resource: Json, parameter: str) -> list[str]:
    """Literal references of the element that a search parameter is about."""
    value = resource.get(LINKS.get(parameter, ""), [])
    return [each["reference"] for each in (value if isinstance(value, list) else [value]) if "reference" in each]
