"""What a program with fhirclient does."""

from __future__ import annotations

from hashlib import sha256
from importlib import import_module
from typing import Any

import requests
from fhirclient.client import FHIRClient
from program import Json, run


def model(kind: str) -> Any:  # Any: fhirclient ships no types
    return getattr(import_module(f"fhirclient.models.{kind.lower()}"), kind)


class Program:
    """Acts, each with what the client offers for it."""

    def __init__(self, base: str) -> None:
        self.server = FHIRClient(settings={"app_id": "tests", "api_base": base}).server

    def create(self, resource: Json) -> Any:
        return model(resource["resourceType"])(resource).create(self.server)

    def picture(self, url: str) -> str:
        return sha256(self.server.request_data(url, headers={"Accept": "image/*"})).hexdigest()

    def read(self, kind: str, id: str) -> Any:
        return model(kind).read(id, self.server).as_json()

    def vread(self, kind: str, id: str, version: str) -> Any:
        return model(kind).read_from(f"{kind}/{id}/_history/{version}", self.server).as_json()

    def search(self, kind: str, parameters: Json) -> Any:
        return [each.id for each in model(kind).where(parameters).perform_resources_iter(self.server)]

    def transaction(self, bundle: Json) -> Any:
        return [each["response"] for each in model("Bundle")(bundle).create(self.server)["entry"]]

    def change(self, kind: str, id: str, elements: Json) -> Any:
        resource = model(kind).read(id, self.server)
        for name, value in elements.items():
            setattr(resource, name, value)
        return resource.update(self.server)

    def metadata(self) -> Any:
        self.server.prepare()
        return [each.type for each in self.server.capabilityStatement.rest[0].resource]


def refusal(why: Exception) -> Json | None:
    """The message says the status; the caller finds the OperationOutcome in the response that comes with it."""
    if not isinstance(why, requests.HTTPError):
        return None
    return {"refused": why.response.status_code, "why": why.response.text, "says": str(why)}


run(Program, refusal)
