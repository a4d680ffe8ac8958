"""Who speaks: the analyser, or its stand-in, and the relay that put the report together.

A Device never changes: another version is another Device, so that an EHR's Device is found and referred to, not written
again with every report.
"""

from __future__ import annotations

from fundus_relay import __version__
from fundus_relay.domain.values import Json

from . import codes, names
from .identity import id_of
from .narrative import narrative

DISCLAIMER = (
    "Netra.AI is an ancillary tool for qualified eye care professionals. It is not intended to diagnose, treat, cure, "
    "or prevent diabetic retinopathy or any other disease."
)
"""Source: Netra API 1.0, Disclaimer."""

STANDIN = (
    "Made by the STAND-IN of Fundus Relay, which imitates the analyser for demonstration and tests. "
    "It is no medical device; nothing here may be used for care."
)


SIMULATED = "stand-in, simulated"
"""What stands beside the name of an image whose result is the stand-in's."""

CAUTION = "AI-generated, unreviewed, not a diagnosis."

METHODS = {False: "Netra.AI API 1.0", True: "Fundus Relay's stand-in for Netra.AI API 1.0"}
"""How a result was made, by whether a stand-in made it."""


def cautions(*, is_standin: bool) -> list[str]:
    """What stands in words wherever a result does."""
    return [*([STANDIN] if is_standin else []), CAUTION]


def analyser(*, is_standin: bool) -> Json:
    """The Device that analysed an image."""
    key = f"fundus-relay-standin-{__version__}" if is_standin else "netra-ai-api-1.0"
    name = "Fundus Relay stand-in for Netra.AI, no medical device" if is_standin else "Netra.AI"
    return _device(
        key,
        name,
        manufacturer="Fundus Relay" if is_standin else "Leben Care",
        version=__version__ if is_standin else "API 1.0",
        note=STANDIN if is_standin else f"{DISCLAIMER} The vendor does not state the version of the model.",
        kind=codes.ARTIFICIAL_INTELLIGENCE,
    )


def name_of(device: Json) -> str:
    """As people call it."""
    return str(device["deviceName"][0]["name"])


def relay() -> Json:
    """The Device that assembled the report."""
    note = "Relays photographs and answers; it analyses nothing itself."
    return _device(
        f"fundus-relay-{__version__}", "Fundus Relay", manufacturer="Fundus Relay", version=__version__, note=note
    )


def _device(key: str, name: str, *, manufacturer: str, version: str, note: str, kind: Json | None = None) -> Json:
    identifier = {"system": names.SID_DEVICE, "value": key}
    return {
        "resourceType": "Device",
        "id": id_of(identifier),
        "meta": {"profile": [names.profile("analysis-device")]},
        "text": narrative([f"{name} ({version}), by {manufacturer}.", note]),
        "identifier": [identifier],
        "status": "active",
        "manufacturer": manufacturer,
        "deviceName": [{"name": name, "type": "user-friendly-name"}],
        **({"type": {"coding": [kind], "text": "Artificial intelligence"}} if kind else {}),
        "version": [{"value": version}],
        "note": [{"text": note}],
    }
