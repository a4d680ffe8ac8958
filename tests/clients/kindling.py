"""fhir-kindling, unmodified, in an environment of its own: python kindling.py BASE PICTURE → one JSON line."""

import base64
import json
import sys
from pathlib import Path

from fhir.resources.bundle import Bundle
from fhir.resources.media import Media
from fhir.resources.patient import Patient
from fhir_kindling import FhirServer

base, picture = sys.argv[1:]
server = FhirServer(api_address=base)
media = {
    "resourceType": "Media",
    "status": "completed",
    "identifier": [{"system": "urn:test", "value": "kindling-1"}],
    "subject": {"reference": "Patient/demo-patient"},
    "content": {"contentType": "image/jpeg", "data": base64.b64encode(Path(picture).read_bytes()).decode()},
}
created = server.add(Media(**media))
read = server.get(f"Media/{created.resource_id}")
found = server.query("Media").where(field="identifier", operator="eq", value="urn:test|kindling-1").all()
patients = server.query("Patient").all(count=10)
bundle = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {
            "resource": {
                "resourceType": "ServiceRequest",
                "status": "active",
                "intent": "order",
                "subject": {"reference": "Patient/demo-patient"},
            },
            "request": {"method": "POST", "url": "ServiceRequest"},
        },
        {
            "resource": {**media, "identifier": [{"system": "urn:test", "value": "kindling-2"}]},
            "request": {"method": "POST", "url": "Media"},
        },
    ],
}
transaction = server.add_bundle(Bundle(**bundle))
several = server.add_all([Patient(identifier=[{"system": "urn:test", "value": f"kindling-{n}"}]) for n in range(3)])
refused = None
try:
    server.add(Media(**{**media, "status": "bogus"}))
except Exception as error:
    refused = type(error).__name__
print(
    json.dumps(
        {
            "created": {"id": created.resource_id, "location": created.location},
            "read": json.loads(read.json()),
            "found": len(found.resources),
            "patients": len(patients.resources),
            "transaction": [entry.resource_id for entry in transaction.create_responses],
            "several": len(several.create_responses),
            "refused": refused,
        }
    )
)
