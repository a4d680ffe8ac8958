"""Bodies for the load: Media with a JPEG of 3.7 MB, each with another identifier and other bytes."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

COUNTER = b"counter-000000000000"
NAME = "bench-000000000000"


@cache
def noisy_jpeg(byte_count: int = 3_700_000) -> bytes:
    """A valid JPEG of about that size, with a comment whose bytes can be changed without touching its pixels."""
    chance = np.random.default_rng(1)
    columns, rows = 2048, 1536
    coarse = chance.integers(0, 256, (rows // 16, columns // 16, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((columns, rows), Image.Resampling.BICUBIC), np.int16)
    noise = chance.integers(-40, 40, smooth.shape, dtype=np.int16)
    image = Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))
    best = b""
    for quality in range(99, 50, -1):
        sink = io.BytesIO()
        image.save(sink, "JPEG", quality=quality, subsampling=0)
        best = sink.getvalue()
        if len(best) <= byte_count:
            break
    filler = b"x" * ((-(2 + 4)) % 3)  # so that the counter begins on a boundary of three bytes
    comment = filler + COUNTER + b"y" * 60
    return best[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + best[2:]


@dataclass(frozen=True, slots=True)
class Bodies:
    """One body, cut where it changes from request to request.

    Attributes:
        before, between, after: constant parts; the identifier's number stands after the first, the picture's after the
            second.
    """

    before: bytes
    between: bytes
    after: bytes
    head: bytes
    tail: bytes

    def number(self, n: int) -> list[bytes]:
        """The n-th body in parts."""
        digits = f"{n:012d}".encode()
        return [self.before, digits, self.between, base64.b64encode(self.head + digits + self.tail), self.after]

    @property
    def length(self) -> int:
        return sum(len(part) for part in self.number(0))


@cache
def bodies() -> Bodies:
    """What the load generator sends."""
    picture = noisy_jpeg()
    at = picture.index(COUNTER) + len("counter-")
    start, end = at // 3 * 3, (at + 12 + 2) // 3 * 3
    encoded = base64.b64encode(picture)
    mark = "\0"
    document = json.dumps(
        {
            "resourceType": "Media",
            "status": "completed",
            "identifier": [{"system": "urn:fundus-relay:bench", "value": NAME}],
            "subject": {"reference": "Patient/demo-patient"},
            "createdDateTime": "2026-11-23T09:30:00+00:00",
            "bodySite": {"coding": [{"system": "http://snomed.info/sct", "code": "362503005"}]},
            "content": {"contentType": "image/jpeg", "data": mark},
        }
    ).encode()
    prefix, _, suffix = document.partition(json.dumps(mark)[1:-1].encode())
    before, _, between = prefix.partition(b"000000000000")
    return Bodies(
        before=before,
        between=between + encoded[: start // 3 * 4],
        after=encoded[end // 3 * 4 :] + suffix,
        head=picture[start:at],
        tail=picture[at + 12 : end],
    )
