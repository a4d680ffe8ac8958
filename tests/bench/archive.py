"""A DICOMweb archive whose studies hold as many instances as their UIDs say, all alike but for their names.

Usage: python -m tests.bench.archive PORT
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit
from tests.dicom_files import dicom_file

ROOT = "1.2.826.0.1.3680043.10.2"
COLUMNS, ROWS = 4000, 3000
_NUMBER = "99999"  # stands in a template where an instance has its own


@dataclass(frozen=True, slots=True)
class Kind:
    """How a study's pictures are stored.

    Attributes:
        encoded: bytes of a JPEG at most; None means pixels as they are.
        analyser: what the stand-in says of each.
    """

    name: str
    encoded: int | None
    analyser: str = "instant"


KINDS = (
    Kind("JPEG within the analyser's limit", 4_500_000),
    Kind("JPEG of twice that", 10_000_000),
    Kind("uncompressed", None),
    Kind("JPEG within the limit, a hundred lesions in each", 4_500_000, "crowded"),
)


def study_uid(kind: Kind, count: int) -> str:
    return f"{ROOT}.{KINDS.index(kind)}.{count}"


def _instance_uid(study: str, number: str) -> str:
    return f"{study}.1.{number}"


@cache
def pixels() -> NDArray[np.uint8]:
    """Twelve megapixels, smooth with some noise, as a photograph is."""
    chance = np.random.default_rng(1)
    coarse = chance.integers(0, 256, (ROWS // 40, COLUMNS // 40, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((COLUMNS, ROWS), Image.Resampling.BICUBIC), np.int16)
    noise = chance.integers(-25, 25, smooth.shape, dtype=np.int16)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


@cache
def jpeg_of(byte_count: int) -> bytes:
    """Those pixels as the best JPEG of at most that size."""
    best = b""
    for quality in range(98, 30, -4):
        sink = BytesIO()
        Image.fromarray(pixels()).save(sink, "JPEG", quality=quality, subsampling="4:2:0")
        best = sink.getvalue()
        if len(best) <= byte_count:
            break
    return best


@cache
def _template(study: str) -> list[bytes]:
    """A file of the study, cut where instances differ."""
    kind = KINDS[int(study.split(".")[-2])]
    names = {"study": study, "series": f"{study}.1", "instance": _instance_uid(study, _NUMBER)}
    if kind.encoded is None:
        file = dicom_file(pixels(), transfer_syntax=ExplicitVRLittleEndian, **names)
    else:
        file = dicom_file(
            encoded=[jpeg_of(kind.encoded)],
            transfer_syntax=JPEGBaseline8Bit,
            photometric="YBR_FULL_422",
            rows=ROWS,
            columns=COLUMNS,
            **names,
        )
    return file.split(names["instance"].encode())


app = FastAPI()


@app.get("/dicom-web/studies/{study}/instances")
def search(study: str, request: Request) -> Response:
    first, most = (int(request.query_params.get(name, default)) for name, default in (("offset", 0), ("limit", 100)))
    numbers = range(int(study.rpartition(".")[2]))[first : first + most]
    found = [_listed(study, number) for number in numbers]
    return JSONResponse(found, media_type="application/dicom+json") if found else Response(status_code=204)


def _listed(study: str, number: int) -> dict[str, object]:
    fields = {
        "0020000D": ("UI", study),
        "0020000E": ("UI", f"{study}.1"),
        "00080018": ("UI", _instance_uid(study, str(10_000 + number))),
        "00080016": ("UI", "1.2.840.10008.5.1.4.1.1.77.1.5.1"),
        "00080060": ("CS", "OP"),
    }
    return {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in fields.items()}


@app.get("/dicom-web/studies/{study}/series/{series}/instances/{instance}")
def retrieve(study: str, series: str, instance: str) -> Response:
    def pieces() -> Iterator[bytes]:
        yield b"\r\n--next\r\nContent-Type: application/dicom\r\n\r\n"
        for number, part in enumerate(_template(study)):
            yield instance.encode() if number else b""
            with memoryview(part) as view:
                yield from (bytes(view[at : at + 262_144]) for at in range(0, len(view), 262_144))
        yield b"\r\n--next--\r\n"

    kind = 'multipart/related; type="application/dicom"; boundary="next"'
    return StreamingResponse(pieces(), headers={"Content-Type": kind})


@app.get("/livez")
def livez() -> str:
    return "ok"


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
