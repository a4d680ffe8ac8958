"""The photographs that most tests are about: two eyes of one order."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.domain.values import Entry
from fundus_relay.imaging.preparation import prepare

ORDER = [{"reference": "ServiceRequest/77"}]
EYE = a_jpeg(noise=11)
OTHER_EYE = a_jpeg(noise=13)
ERROR = "entered-in-error"


def prepared(picture: bytes) -> str:
    """SHA-256 of what the analyser will get of a picture."""
    return prepare(picture).sha256


def in_error(photograph: Entry) -> Entry:
    """The same Media as its sender takes it back, without its picture."""
    return replace(photograph, method="PUT", picture=None, resource={**photograph.resource, "status": ERROR})
