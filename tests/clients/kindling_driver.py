"""What a program with fhir-kindling does, in an environment of its own: it needs httpx < 0.28 and pydantic 1."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import httpx
from fhir_kindling import FhirServer
from program import Json, run


class Program:
    """Acts, each with what the client offers for it."""

    def __init__(self, base: str) -> None:
        self.server = FhirServer(api_address=base)

    def create(self, resource: Json) -> Any:
        """It keeps what it sent, with the id out of Location; what was stored is a read away."""
        added = self.server.add(resource)
        return json.loads(self.server.get(added.reference).json())

    def picture(self, url: str) -> Any:
        """It knows resources alone: whoever wants the bytes takes its HTTP library."""
        return sha256(httpx.get(url).raise_for_status().content).hexdigest()

    def read(self, kind: str, id: str) -> Any:
        return json.loads(self.server.get(f"{kind}/{id}").json())

    def vread(self, kind: str, id: str, version: str) -> Any:
        return json.loads(self.server.get(f"{kind}/{id}/_history/{version}").json())

    def search(self, kind: str, parameters: Json) -> Any:
        count = int(parameters.pop("_count", 0)) or None
        query = self.server.query(kind)
        for name, value in parameters.items():
            query = query.where(field=name, operator="eq", value=value)
        return [each.id for each in query.all(count=count).resources]

    def count(self, kind: str) -> int:
        return int(self.server.raw_query(f"/{kind}?").count())

    def transaction(self, bundle: Json) -> Any:
        """From resources, it makes the Bundle itself, without any fullUrl."""
        added = self.server.add_all([entry["resource"] for entry in bundle["entry"]])
        return [{"location": each.location} for each in added.create_responses]

    def change(self, kind: str, id: str, elements: Json) -> Any:
        resource = self.server.get(f"{kind}/{id}")
        for name, value in elements.items():
            setattr(resource, name, value)
        return self.server.update([resource])["entry"][0]["response"]

    def metadata(self) -> Any:
        return self.server.rest_resources


def refusal(why: Exception) -> Json | None:
    """It prints the body, and raises what its HTTP library raises."""
    if not isinstance(why, httpx.HTTPStatusError):
        return None
    return {"refused": why.response.status_code, "why": why.response.text, "says": str(why)}


run(Program, refusal)
