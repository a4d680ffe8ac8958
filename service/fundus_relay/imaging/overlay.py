"""A photograph with the boxes of its lesions drawn on it, for people to look at; nothing is measured on it.

How this works. Lines run around a box, not over it, but where the picture ends; each kind of lesion has a colour, a
line and letters of its own (`domain.strokes`). Letters stand beside a box where they hide no box and no other letters,
and not beside each of a crowd. All else that is said stands above and below the photograph and hides nothing of it.
The same always gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from math import ceil

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageDraw import ImageDraw as Canvas

from fundus_relay import lettering
from fundus_relay.domain.geometry import Affine, Box, Size, scaling
from fundus_relay.domain.sheets import Caption, Drawn, Marked
from fundus_relay.domain.strokes import INK, PAPER, Line, Stroke

from .viewing import smaller

Edges = tuple[float, float, float, float]
"""Left, top, right and bottom of a box in pixels of what is drawn on."""

ALARM, CAUTION = "#B00020", "#8A3B00"

_QUALITIES = (88, 80, 70, 60)
_CROWD = 60
_LETTERED = 12  # of each kind, the largest, when there is a crowd
_CELL = 4  # pixels to a side of what is looked at when room is sought


def overlay(view: Image.Image, marked: Marked, picture: Size, strokes: Mapping[str, Stroke], limit: int) -> Drawn:
    """The picture with its boxes, and around it all that has to be said.

    Args:
        view: the prepared picture, upright, at any size; is left as it is.
        picture: size of the prepared picture, to whose pixels `marked.to_picture` leads.
        strokes: for each kind of lesion that the marked has.
        limit: bytes; a picture that cannot be kept within at this size becomes smaller.
    """
    return _fitting(view, limit, lambda at: _framed(_drawn(at, marked, picture, strokes), marked.caption, strokes))


def plate(view: Image.Image, marked: Marked, picture: Size, strokes: Mapping[str, Stroke], limit: int) -> Drawn:
    """The picture with its boxes and nothing around it; arguments as of `overlay`."""
    return _fitting(view, limit, lambda at: _drawn(at, marked, picture, strokes))


def shrunk(overlay: Image.Image, limit: int) -> Drawn:
    """What was drawn before, at a size that fits."""
    return _fitting(overlay, limit, lambda at: at)


def _fitting(view: Image.Image, limit: int, draw: Callable[[Image.Image], Image.Image]) -> Drawn:
    """The best JPEG within the limit: at falling quality first, then smaller, and at last as small as a thumbnail."""
    longest = max(view.size)
    while True:
        at = smaller(Size(*view.size), longest)
        image = draw(view if view.size == (at.columns, at.rows) else view.resize((at.columns, at.rows), reducing_gap=2))
        for quality in _QUALITIES:
            written = _jpeg(image, quality)
            if len(written) <= limit:
                return Drawn(written, Size(*image.size))
        if longest <= SMALLEST:
            return Drawn(written, Size(*image.size))
        longest = max(SMALLEST, round(longest * min(0.9, (limit / len(written)) ** 0.5)))


SMALLEST = 240
"""Pixels of the longer side, below which nobody recognises a retina."""


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:4:4" if quality > 75 else "4:2:0")
    return file.getvalue()


# ---------------------------------------------------------------------------------------------------------- the boxes


def _drawn(view: Image.Image, marked: Marked, picture: Size, strokes: Mapping[str, Stroke]) -> Image.Image:
    """A copy with every box, the largest first, and with letters where there is room."""
    image = view.copy()
    to_view = scaling(of=picture, to=Size(*image.size)).after(marked.to_picture)
    placed = sorted(((_edges(box, to_view, image), kind) for box, kind in marked.boxes), key=_area, reverse=True)
    canvas, width = ImageDraw.Draw(image), line_width(image)
    for edges, kind in placed:
        _outline(canvas, _within(edges, image, width), strokes[kind], width)
    room = _Room(image.size, [_grown(edges, 4 * width) for edges, _ in placed])
    for edges, kind in _lettered(placed):
        _letter(canvas, edges, strokes[kind], room, width)
    return image


def line_width(image: Image.Image) -> int:
    """Pixels of a line on a picture of this size: two at least, so that its colour can be told."""
    return max(2, round(max(image.size) / 650))


def rim_width(width: int) -> int:
    """Pixels of the rim on either side of a line."""
    return max(1, width // 2)


def _edges(box: Box, to_view: Affine, image: Image.Image) -> Edges:
    corners = [to_view.point(x, y) for x in (box.x_min, box.x_max) for y in (box.y_min, box.y_max)]
    xs = [min(max(x, 0), image.width) for x, _ in corners]
    ys = [min(max(y, 0), image.height) for _, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _within(edges: Edges, image: Image.Image, width: int) -> Edges:
    """Edges with room for a line around them in the picture: one that ends with it has its line inside."""
    left, top, right, bottom = edges
    room = width + 2 * rim_width(width)
    return (
        min(max(left, room), image.width - room),
        min(max(top, room), image.height - room),
        max(min(right, image.width - room), room),
        max(min(bottom, image.height - room), room),
    )


def _area(placed: tuple[Edges, str]) -> float:
    (left, top, right, bottom), _ = placed
    return (right - left) * (bottom - top)


def _grown(edges: Edges, by: float) -> Edges:
    return edges[0] - by, edges[1] - by, edges[2] + by, edges[3] + by


def _outline(canvas: Canvas, edges: Edges, stroke: Stroke, width: int) -> None:
    """The stroke's line around a box, in its rim."""
    around, rim = _grown(_whole(edges), rim_width(width)), rim_width(width)
    strips = list(_strips(around, stroke.line, width))
    for grown, colour in ((rim, stroke.rim), (0, stroke.colour)):
        for left, top, right, bottom in strips:
            canvas.rectangle((left - grown, top - grown, right - 1 + grown, bottom - 1 + grown), fill=colour)


def _whole(edges: Edges) -> Edges:
    """Edges on whole pixels, outwards, so that no line covers a part of the box."""
    return float(int(edges[0])), float(int(edges[1])), float(ceil(edges[2])), float(ceil(edges[3]))


def _frame(edges: Edges, width: int) -> Iterator[Edges]:
    """Four strips around a box."""
    left, top, right, bottom = edges
    yield left - width, top - width, right + width, top
    yield left - width, bottom, right + width, bottom + width
    yield left - width, top, left, bottom
    yield right, top, right + width, bottom


def _strips(edges: Edges, line: Line, width: int) -> Iterator[Edges]:
    """What of the four strips is drawn."""
    if line is Line.TICKED:
        yield from _ticks(edges, width)
    for strip in _frame(edges, width):
        match line:
            case Line.SOLID | Line.TICKED:
                yield strip
            case Line.CORNERS:
                yield from _pieces(strip, [(0, 0.35), (0.65, 1)])
            case Line.DASHED:
                length = max(strip[2] - strip[0], strip[3] - strip[1])
                dashes = max(2, round(length / (7 * width)))
                yield from _pieces(strip, [(n / dashes, (n + 0.6) / dashes) for n in range(dashes)])


def _ticks(edges: Edges, width: int) -> Iterator[Edges]:
    """From the middle of each side outwards."""
    left, top, right, bottom = edges
    x, y, length = (left + right - width) // 2, (top + bottom - width) // 2, 3 * width
    yield x, top - length, x + width, top
    yield x, bottom, x + width, bottom + length
    yield left - length, y, left, y + width
    yield right, y, right + length, y + width


def _pieces(strip: Edges, shares: Sequence[tuple[float, float]]) -> Iterator[Edges]:
    left, top, right, bottom = strip
    is_level = right - left >= bottom - top
    first, length = (left, right - left) if is_level else (top, bottom - top)
    for begin, end in shares:
        start = round(first + begin * length)
        stop = max(start + 1, round(first + end * length))
        yield (start, top, stop, bottom) if is_level else (left, start, right, stop)


# --------------------------------------------------------------------------------------------------------- the letters


class _Room:
    """Where nothing is drawn yet."""

    def __init__(self, size: tuple[int, int], taken: Sequence[Edges]) -> None:
        self._size = size
        self._taken = np.zeros((size[1] // _CELL + 1, size[0] // _CELL + 1), dtype=bool)
        for edges in taken:
            self.take(edges)

    def take(self, edges: Edges) -> None:
        self._taken[self._cells(edges)] = True

    def is_free(self, edges: Edges) -> bool:
        left, top, right, bottom = edges
        is_inside = left >= 0 and top >= 0 and right <= self._size[0] and bottom <= self._size[1]
        return is_inside and not self._taken[self._cells(edges)].any()

    def _cells(self, edges: Edges) -> tuple[slice, slice]:
        left, top, right, bottom = (max(0, int(edge)) for edge in edges)
        return slice(top // _CELL, bottom // _CELL + 1), slice(left // _CELL, right // _CELL + 1)


def _lettered(placed: Sequence[tuple[Edges, str]]) -> list[tuple[Edges, str]]:
    """Which boxes get letters: all, or of a crowd the largest of each kind."""
    if len(placed) <= _CROWD:
        return list(placed)
    kinds = dict.fromkeys(kind for _, kind in placed)
    return [each for kind in kinds for each in [at for at in placed if at[1] == kind][:_LETTERED]]


def _letter(canvas: Canvas, edges: Edges, stroke: Stroke, room: _Room, width: int) -> None:
    """The stroke's letters beside a box, at the first place that is free."""
    font = _font(max(11, 8 * width), is_bold=True)
    wide, high = font.getlength(stroke.letters) + 2 * width, float(font.size)
    left, top, right, bottom = _grown(edges, 4 * width + _CELL)
    left, top = max(left, 0), max(top, 0)
    for x, y in ((left, top - high), (right, top), (left, bottom), (left - wide, top), (right - wide, top - high)):
        if room.is_free(place := (x, y, x + wide, y + high)):
            at = (x + wide / 2, y + high / 2)
            canvas.text(
                at,
                stroke.letters,
                fill=stroke.colour,
                font=font,
                anchor="mm",
                stroke_width=max(1, round(0.8 * width)),
                stroke_fill=stroke.rim,
            )
            room.take(place)
            return


# ----------------------------------------------------------------------------------------------------- what is around


@dataclass(frozen=True, slots=True)
class _Words:
    """A line of text in a strip."""

    text: str
    size: int
    is_bold: bool = False


def _framed(image: Image.Image, caption: Caption, strokes: Mapping[str, Stroke]) -> Image.Image:
    unit = max(10, round(image.width / 70))
    alarm, *cautions = caption.warnings
    parts = [
        *(_strip([_Words(text, round(1.3 * unit), True)], image.width, ALARM) for text in (alarm,) if cautions),
        _strip([_Words(text, round(1.3 * unit), True) for text in cautions or (alarm,)], image.width, CAUTION),
        _strip(
            [
                _Words(" · ".join(filter(None, (caption.title, caption.taken))), round(1.5 * unit), True),
                _Words(caption.result, round(1.3 * unit)),
                *([_Words(caption.report, unit)] if caption.report else []),
            ],
            image.width,
            PAPER,
        ),
        image,
        *([_legend(caption.counts, strokes, image.width, unit)] if caption.counts else []),
    ]
    whole = Image.new("RGB", (image.width, sum(part.height for part in parts)))
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    return whole


def _strip(lines: Sequence[_Words], width: int, paper: str) -> Image.Image:
    margin = width // 70
    rows = [(row, words) for words in lines for row in _wrapped(words, width - 2 * margin)]
    strip = Image.new("RGB", (width, sum(round(1.45 * words.size) for _, words in rows) + lines[0].size // 2), paper)
    canvas, top = ImageDraw.Draw(strip), lines[0].size // 4
    for row, words in rows:
        canvas.text((margin, top), row, fill=INK, font=_font(words.size, is_bold=words.is_bold))
        top += round(1.45 * words.size)
    return strip


def _wrapped(words: _Words, width: int) -> list[str]:
    """Rows that fit; a word that is longer than a row is broken."""
    font, rows = _font(words.size, is_bold=words.is_bold), [""]
    for word in _readable(words.text).split(" "):
        rest = word
        while rest:
            room = f"{rows[-1]} {rest}".strip()
            if font.getlength(room) <= width:
                rows[-1], rest = room, ""
            elif rows[-1]:
                rows.append("")
            else:
                fits = next((n for n in range(len(rest), 1, -1) if font.getlength(rest[:n]) <= width), 1)
                rows[-1], rest = rest[:fits], rest[fits:]
                rows.append("")
    return [row for row in rows if row] or [""]


def _legend(counts: Mapping[str, int], strokes: Mapping[str, Stroke], width: int, unit: int) -> Image.Image:
    """How many boxes of each kind, as they are drawn."""
    font, step = _font(unit), 2 * unit
    texts = [(strokes[kind], f"{strokes[kind].letters}  {_readable(kind)}: {count}") for kind, count in counts.items()]
    column = min(width, max(round(font.getlength(text)) for _, text in texts) + 5 * unit)
    across = max(1, width // column)
    strip = Image.new("RGB", (width, step * ceil(len(texts) / across) + unit), PAPER)
    canvas = ImageDraw.Draw(strip)
    for number, (stroke, text) in enumerate(texts):
        x, y = width // 70 + (number % across) * column, unit // 2 + (number // across) * step
        sample = (x + 6.0, y + unit / 2, x + 6 + 1.5 * unit, y + 1.5 * unit)
        _outline(canvas, sample, stroke, max(1, unit // 10))
        canvas.text((x + 2.6 * unit, y + 0.25 * unit), text, fill=INK, font=font)
    return strip


def _readable(text: str) -> str:
    return lettering.readable(text, lettering.REGULAR)


@cache
def _font(size: int, *, is_bold: bool = False) -> ImageFont.FreeTypeFont:
    file = lettering.BOLD if is_bold else lettering.REGULAR
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)  # the same on every machine
