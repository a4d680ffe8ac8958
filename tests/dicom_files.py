"""DICOM files as cameras and archives write them, made for a test; override what matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from fundus_relay.domain.dicom import OPHTHALMIC_8_BIT, InstanceName, ListedInstance

STUDY = "1.2.826.0.1.3680043.10.1.1"
SERIES = "1.2.826.0.1.3680043.10.1.1.1"


def dicom_file(
    pixels: NDArray[Any] | None = None,
    *,
    encoded: Sequence[bytes] = (),
    transfer_syntax: str = ExplicitVRLittleEndian,
    photometric: str = "RGB",
    study: str = STUDY,
    series: str = SERIES,
    instance: str | None = None,
    rows: int = 0,
    columns: int = 0,
    frames: int = 1,
    **header: Any,  # further attributes by keyword; None leaves one out
) -> bytes:
    """One instance.

    Args:
        pixels: (rows, columns), (rows, columns, 3) or with frames in front; stored as they are.
        encoded: compressed frames in place of `pixels`, with `rows` and `columns`.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = transfer_syntax  # type: ignore[assignment]  # pydicom makes a UID of it
    meta.MediaStorageSOPClassUID = header.get("SOPClassUID", OPHTHALMIC_8_BIT)
    meta.MediaStorageSOPInstanceUID = instance or generate_uid()
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    fields = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "Modality": "OP",
        "PatientID": "P-1",
        "PatientName": "Canary^Patient",
        "ImageLaterality": "R",
        "SamplesPerPixel": 1 if photometric.startswith(("MONO", "PALETTE")) else 3,
        "PhotometricInterpretation": photometric,
        "Rows": rows,
        "Columns": columns,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
    }
    if fields["SamplesPerPixel"] == 3:
        fields["PlanarConfiguration"] = 0
    if pixels is not None:
        shape = pixels.shape[1:] if frames > 1 else pixels.shape
        bits = pixels.dtype.itemsize * 8
        fields |= {
            "Rows": shape[0],
            "Columns": shape[1],
            "BitsAllocated": bits,
            "BitsStored": bits,
            "HighBit": bits - 1,
        }
    if frames > 1:
        fields["NumberOfFrames"] = frames
    for name, value in {**fields, **header}.items():
        if value is not None:
            setattr(dataset, name, value)
    if pixels is not None:
        order = "<" if meta.TransferSyntaxUID.is_little_endian else ">"
        dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    elif encoded:
        dataset.PixelData = encapsulate(list(encoded))
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
    file = BytesIO()
    dataset.set_original_encoding(meta.TransferSyntaxUID.is_implicit_VR, meta.TransferSyntaxUID.is_little_endian)
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def dicom_jpeg(jpeg: bytes, **how: Any) -> bytes:  # Any: as dicom_file
    """A JPEG wrapped as an ophthalmic photograph, bit for bit."""
    with Image.open(BytesIO(jpeg)) as image:
        columns, rows = image.size
    told = {"transfer_syntax": JPEGBaseline8Bit, "photometric": "YBR_FULL_422", "rows": rows, "columns": columns, **how}
    return dicom_file(encoded=[jpeg], **told)


def dicom_lossless(pixels: NDArray[np.uint8], syntax: str, **how: Any) -> bytes:  # Any: as dicom_file
    """(rows, columns, 3) in one of `LOSSLESS`, so that the same pixels come out."""
    if syntax not in _ENCODERS:
        return dicom_file(pixels, transfer_syntax=syntax, **how)
    rows, columns, _ = pixels.shape
    told = {"photometric": "YBR_RCT" if syntax == JPEG2000Lossless else "RGB", "rows": rows, "columns": columns, **how}
    return dicom_file(encoded=[_ENCODERS[syntax](pixels)], transfer_syntax=syntax, **told)


def _rle(pixels: NDArray[np.uint8]) -> bytes:
    rows, columns, samples = pixels.shape
    told = {"rows": rows, "columns": columns, "samples_per_pixel": samples, "number_of_frames": 1, "bits_stored": 8}
    kind = {"bits_allocated": 8, "pixel_representation": 0, "photometric_interpretation": "RGB"}
    return RLELosslessEncoder.encode(pixels, planar_configuration=0, **told, **kind)


_ENCODERS: dict[str, Callable[[NDArray[np.uint8]], bytes]] = {
    RLELossless: _rle,
    JPEGLosslessSV1: lambda pixels: imagecodecs.jpeg8_encode(
        pixels, lossless=True, predictor=1, colorspace="RGB", outcolorspace="RGB"
    ),
    JPEGLSLossless: lambda pixels: imagecodecs.jpegls_encode(pixels, level=0),
    JPEG2000Lossless: lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="J2K", reversible=True),
}

LOSSLESS = {
    "implicit little endian": ImplicitVRLittleEndian,
    "explicit little endian": ExplicitVRLittleEndian,
    "explicit big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG lossless": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
}


def a_scene(rows: int = 1024, columns: int = 1280, seed: int = 0) -> NDArray[np.uint8]:
    """(rows, columns, 3): smooth colours, different everywhere."""
    y, x = np.mgrid[0:rows, 0:columns]
    planes = [x * 255 // columns, y * 255 // rows, (x + y + 31 * seed) * 255 // (rows + columns + 31 * seed)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def listed(instance: str, *, series: str = SERIES, study: str = STUDY, **how: Any) -> ListedInstance:
    """How an archive lists it; override what matters."""
    return ListedInstance(
        InstanceName(study, series, instance), **{"sop_class": OPHTHALMIC_8_BIT, "modality": "OP", **how}
    )
