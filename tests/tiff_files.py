"""TIFF files made for a test: by tifffile where it can, and by hand where a file has to be odd or broken."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

ORIENTATION, PROFILE = 274, 34675
_CODES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 16: "Q"}
Tag = tuple[int, Sequence[int] | bytes]


def tiff_file(
    pixels: NDArray[Any], *, orientation: int | None = None, profile: bytes | None = None, **how: Any
) -> bytes:
    """One picture, by tifffile.

    Args:
        pixels: (rows, columns), (rows, columns, samples), or (samples, rows, columns) with `planarconfig="separate"`.
        how: as `tifffile.imwrite`; compression, predictor, tile, rowsperstrip, byteorder, bigtiff, ...
    """
    file = BytesIO()
    told = {"photometric": "rgb" if pixels.ndim == 3 else "minisblack", "metadata": None, **how}
    extra = [(ORIENTATION, "H", 1, orientation, True)] if orientation is not None else []
    tifffile.imwrite(file, np.ascontiguousarray(pixels), extratags=extra, iccprofile=profile, **told)
    return file.getvalue()


def raw_tiff(
    *directories: Mapping[int, Tag],
    data: Sequence[bytes] = (),
    order: str = "<",
    is_big: bool = False,
    last_link: int = 0,
) -> bytes:
    """By hand: the data, then the directories, with their values behind each; nothing is checked.

    Args:
        directories: tag → type and values.
        data: pieces that lie behind the header one after the other, see `begins`.
        last_link: where the last directory says that another one is.
    """
    start = {("<", False): b"II*\0", (">", False): b"MM\0*", ("<", True): b"II+\0", (">", True): b"MM\0+"}
    head, heading, entry, inline, link = (16, "Q", "HHQ", 8, "Q") if is_big else (8, "H", "HHI", 4, "I")
    body = bytearray(b"".join(data))
    whole = start[order, is_big] + (struct.pack(f"{order}HH", 8, 0) if is_big else b"")
    whole += struct.pack(f"{order}{link}", head + len(body)) + body
    for number, tags in enumerate(directories):
        table = struct.pack(f"{order}{heading}", len(tags))
        behind = b""
        size = len(table) + len(tags) * (struct.calcsize(f"={entry}") + inline) + struct.calcsize(f"={link}")
        for tag, (kind, values) in sorted(tags.items()):
            packed = bytes(values) if kind in {1, 2, 7} else struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
            count = len(values) // 2 if kind == 5 else len(values)
            table += struct.pack(f"{order}{entry}", tag, kind, count)
            if len(packed) > inline:
                table += struct.pack(f"{order}{link}", len(whole) + size + len(behind))
                behind += packed
            else:
                table += packed.ljust(inline, b"\0")
        is_last = number == len(directories) - 1
        table += struct.pack(f"{order}{link}", last_link if is_last else len(whole) + size + len(behind))
        whole += table + behind
    return whole


def begins(data: Sequence[bytes], *, is_big: bool = False) -> list[int]:
    """Where each piece of `raw_tiff`'s data lies."""
    at = [16 if is_big else 8]
    for piece in data:
        at.append(at[-1] + len(piece))
    return at[:-1]


def plain_tags(
    columns: int, rows: int, strips: Sequence[bytes], *, samples: int = 3, bits: int = 8, **changed: Tag | None
) -> dict[int, Tag]:
    """Tags of an uncompressed RGB or grey picture; `t259=(3, [5])` changes one, None leaves it out."""
    tags: dict[int, Tag | None] = {
        256: (4, [columns]),
        257: (4, [rows]),
        258: (3, [bits] * samples),
        259: (3, [1]),
        262: (3, [2 if samples == 3 else 1]),
        273: (4, begins(strips)),
        277: (3, [samples]),
        278: (4, [-(-rows // len(strips))]),
        279: (4, [len(each) for each in strips]),
    }
    tags |= {int(name[1:]): tag for name, tag in changed.items()}
    return {number: tag for number, tag in tags.items() if tag is not None}
