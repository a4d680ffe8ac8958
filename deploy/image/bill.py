"""The bill of materials of the Python that runs this, as CycloneDX 1.6: every package, with what the lock says of it.

`python bill.py requirements.lock > sbom.cdx.json`. It fails when something is installed that the lock does not name, or
in another version; so nothing is in an image that is not on its bill.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

OURS = "fundus-relay"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


Lock = dict[tuple[str, str], list[str]]
"""Name and version → SHA-256 of the files that may be it. A name may have several versions, for several Pythons."""


def locked(text: str) -> Lock:
    return {(_name(pin[1]), pin[2]): re.findall(r"--hash=sha256:([0-9a-f]{64})", pin[3]) for pin in PIN.finditer(text)}


def bill(installed: list[Distribution], lock: Lock) -> dict[str, Any]:  # any JSON
    """The bill. Raises ValueError: something is installed that is not in the lock."""
    components = []
    for each in sorted(installed, key=lambda each: _name(each.metadata["Name"])):
        name = _name(each.metadata["Name"])
        if name == OURS:
            continue
        if (name, each.version) not in lock:
            raise ValueError(f"{name} {each.version} is installed, and the lock does not have it")
        components.append(_component(each, name, lock[name, each.version]))
    (ours,) = [each for each in installed if _name(each.metadata["Name"]) == OURS]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": OURS, "version": ours.version}},
        "components": components,
    }


def _component(each: Distribution, name: str, hashes: list[str]) -> dict[str, Any]:  # any JSON
    licence = each.metadata.get("License-Expression") or (each.metadata.get("License") or "").split("\n")[0][:80]
    url = f"pkg:pypi/{name}@{each.version}"
    told: dict[str, Any] = {"type": "library", "bom-ref": url, "name": name, "version": each.version, "purl": url}
    if licence:
        told["licenses"] = [{"license": {"name": licence}}]
    # which of the lock's files it came from is not remembered by pip: all that it was held to
    told["properties"] = [{"name": "fundus-relay:locked-sha256", "value": each} for each in hashes]
    return told


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    print(json.dumps(bill(list(distributions()), locked(Path(sys.argv[1]).read_text())), indent=1))
