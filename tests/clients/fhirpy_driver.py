"""What a program with fhirpy does."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256
from typing import Any

from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome
from program import Json, run


class Program:
    """Acts, each with what the client offers for it."""

    def __init__(self, base: str) -> None:
        self.client = SyncFHIRClient(base)

    def create(self, resource: Json) -> Any:
        return self._made(resource).save().serialize()

    def create_once(self, resource: Json, criteria: Json) -> Any:
        asked = self.client.resources(resource["resourceType"]).search(**criteria)
        found, is_new = asked.get_or_create(self._made(resource))
        return {"id": found.id, "is_new": is_new}

    def picture(self, url: str) -> Any:
        return sha256(b64decode(self.client.execute(url, "get")["data"])).hexdigest()

    def read(self, kind: str, id: str) -> Any:
        return self.client.reference(kind, id).to_resource().serialize()

    def vread(self, kind: str, id: str, version: str) -> Any:
        return self.client.execute(f"{kind}/{id}/_history/{version}", "get")

    def search(self, kind: str, parameters: Json) -> Any:
        count = parameters.pop("_count", 100)
        return [each.id for each in self.client.resources(kind).search(**parameters).limit(count).fetch_all()]

    def count(self, kind: str) -> int:
        return int(self.client.resources(kind).count())

    def transaction(self, bundle: Json) -> Any:
        return [each["response"] for each in self._made(bundle).save()["entry"]]

    def change(self, kind: str, id: str, elements: Json) -> Any:
        resource = self.client.reference(kind, id).to_resource()
        for name, value in elements.items():
            resource[name] = value
        return resource.save().serialize()

    def refresh(self, kind: str, id: str) -> Any:
        resource = self.client.reference(kind, id).to_resource()
        resource.refresh()
        return resource.serialize()

    def metadata(self) -> Any:
        return [each["type"] for each in self.client.execute("metadata", "get")["rest"][0]["resource"]]

    def _made(self, resource: Json) -> Any:
        return self.client.resource(**{"resource_type": resource.pop("resourceType"), **resource})


def refusal(why: Exception) -> Json | None:
    """The whole OperationOutcome is the message; the status is lost."""
    return {"refused": None, "why": str(why), "says": str(why)} if isinstance(why, OperationOutcome) else None


run(Program, refusal)
