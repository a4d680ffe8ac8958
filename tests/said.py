"""What the service says while tests run, kept for the judge: one of each shape, in the folder that `FOLDER` names.

`make test` keeps it in `out/said`; `make test-peers` puts it before HL7's validator.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER = "TESTS_SAID"
"""Environment variable."""

_TELLING = frozenset({"resourceType", "system", "code", "status", "type", "profile", "relation", "mode", "method"})
"""Elements whose text makes one thing said another kind of thing; of all others the text is one as good as another."""


class Heard:
    """ASGI middleware that keeps FHIR JSON which leaves `app`, or which `app` is sent."""

    def __init__(self, app: ASGIApp, *, requests: bool = False) -> None:
        """
        Args:
            requests: keep the Bundles that are sent to the app, which is an EHR, and not what it answers; whatever else
                it is sent, a test sends in a person's name.
        """
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        folder = os.environ.get(FOLDER)
        if folder is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = bytearray()

        async def sent() -> Message:
            message = await receive()
            if self._requests:
                said.extend(message.get("body", b""))
            return message

        async def answered(message: Message) -> None:
            if not self._requests:
                said.extend(message.get("body", b""))
            await send(message)

        await self._app(scope, sent, answered)
        keep(bytes(said), Path(folder), only="Bundle" if self._requests else None)


def keep(said: bytes, folder: Path, *, only: str | None = None) -> None:
    """Keep a resource, of one type if so wanted, unless one of its shape is there."""
    try:
        resource = json.loads(said)
    except ValueError:
        return  # a picture, a probe, nothing
    if not isinstance(resource, dict) or "resourceType" not in resource:
        return
    if only is not None and resource["resourceType"] != only:
        return
    digest = hashlib.sha256(json.dumps(shape(resource)).encode()).hexdigest()[:16]
    place = folder / f"{resource['resourceType']}-{digest}.json"
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        place.write_bytes(said)


def shape(part: Any, name: str = "") -> Any:  # Any: parsed JSON
    """The same without whatever is one as good as another: texts, numbers, how often something stands in a list."""
    match part:
        case dict():
            return {key: shape(value, key) for key, value in sorted(part.items()) if key not in ("diagnostics", "div")}
        case list():
            shapes = [shape(each, name) for each in part]
            return [json.loads(each) for each in sorted({json.dumps(each) for each in shapes})]
        case str():
            return part if name in _TELLING else ""
        case bool():
            return part
    return 0
