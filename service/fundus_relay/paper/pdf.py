"""A report revision as a PDF of A4 pages.

How this works. The first page has what the report says; the pictures stand below as long as there is room, else on
pages of their own: the more there are, the smaller, and the more side by side. What must not be overlooked stands in
the head of every page, which report it is in the foot. The same always gives the same bytes: the only time in the file
is the report's, and its id is a digest. Nothing in the file's properties names anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from math import ceil, sqrt

from fpdf import FPDF
from fpdf.enums import MethodReturnValue, XPos, YPos
from fpdf.fonts import FontFace

from fundus_relay import lettering
from fundus_relay.domain.sheets import Caption, Plate, Row, Sheet
from fundus_relay.domain.strokes import Line, Stroke

SUBJECT = "Retinal eye screening report, AI-generated"

_MARGIN, _GAP = 12.0, 4.0
_WIDTH, _HEIGHT = 210.0, 297.0
_INNER = _WIDTH - 2 * _MARGIN
_FOOT = 21.0
_FRAME = 2.0  # around words in the place of a picture
_BODY, _FACT, _SMALL = 9.0, 8.2, 7.5
_ALARM, _CAUTION, _INK, _GREY, _RULE, _HEAD = "#B00020", "#8A3B00", "#161616", "#555555", "#BBBBBB", "#E9EDF1"
_SANS, _FALLBACK = "sans", "devanagari"
_FEW_ROWS = 8
_SHARES = (30, 38, 40, 22, 56)  # of the table's columns
_COLUMNS = ("Image", "Quality", "Diabetic retinopathy", "Referable DR", "Lesions marked")


def pdf_of(sheet: Sheet, plates: Sequence[Plate], strokes: Mapping[str, Stroke]) -> bytes:
    """The file.

    Args:
        plates: pictures in the order of `sheet.rows`, some of which may have none.
        strokes: for each kind of lesion that a plate counts.
    """
    page = _Page(sheet)
    page.add_page()
    page.facts()
    page.remarks()
    page.table_of(sheet.rows)
    page.plates(plates, strokes)
    return page.written()


class _Page(FPDF):
    def __init__(self, sheet: Sheet) -> None:
        super().__init__("portrait", "mm", "A4")
        self._sheet = sheet
        self.set_creation_date(sheet.issued)
        self.set_title(SUBJECT)
        self.set_producer("Fundus Relay")
        self.set_lang("en")
        self.set_margins(_MARGIN, _MARGIN)
        self.c_margin = 0
        self.set_auto_page_break(True, _FOOT)
        self.add_font(_SANS, "", lettering.REGULAR)
        self.add_font(_SANS, "B", lettering.BOLD)
        self.add_font(_FALLBACK, "", lettering.DEVANAGARI)
        self.set_fallback_fonts([_FALLBACK], exact_match=False)
        self.set_text_shaping(True)
        self.alias_nb_pages("{pages}")

    # ------------------------------------------------------------------------------------------------ on every page

    def header(self) -> None:
        for text in self._sheet.warnings:
            self._band(text, _ALARM)
        self._band(self._sheet.state, _CAUTION)
        self.ln(2)

    def _band(self, text: str, colour: str) -> None:
        self._face("B", 10.5, "#FFFFFF")
        self.set_fill_color(colour)
        self.cell(_INNER, 6.5, readable(text), fill=True, align="C", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def footer(self) -> None:
        self.set_y(-_FOOT + 3)
        self.set_draw_color(_RULE)
        self.line(_MARGIN, self.get_y(), _WIDTH - _MARGIN, self.get_y())
        self.ln(1)
        self._face("", 6.8, _GREY)
        self.multi_cell(_INNER, 3.1, readable(self._sheet.disclaimer), new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
        self._face("", 6.3, _GREY)
        self.cell(_INNER - 20, 3.4, readable(self._sheet.foot))
        self.cell(20, 3.4, f"Page {self.page_no()} of {{pages}}", align="R")

    # ---------------------------------------------------------------------------------------------- on the first page

    def facts(self) -> None:
        """The title, and what the report is about, in two columns."""
        self._face("B", 15, _INK)
        self.cell(_INNER, 8, readable(self._sheet.title), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        half = ceil(len(self._sheet.facts) / 2)
        top, bottom = self.get_y() + 1, self.get_y()
        for column, facts in enumerate((self._sheet.facts[:half], self._sheet.facts[half:])):
            self.set_y(top)
            for name, value in facts:
                left = _MARGIN + column * (_INNER + _GAP) / 2
                self._fact(left, name, value)
            bottom = max(bottom, self.get_y())
        self.set_y(bottom + 2)

    def _fact(self, left: float, name: str, value: str) -> None:
        width = (_INNER - _GAP) / 2
        top = self.get_y()
        self.set_x(left)
        self._face("", _FACT, _GREY)  # of the value's size: else what wraps into another script is spaced by this one
        self.cell(23, 4.2, readable(name))
        self._face("", _FACT, _INK)
        self.set_xy(left + 23, top)
        self.multi_cell(width - 23, 4.2, readable(value), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def remarks(self) -> None:
        """What is missing, so that nobody takes the rest for everything."""
        for remark in self._sheet.remarks:
            self._face("B", _BODY, _ALARM)
            self.multi_cell(_INNER, 4.6, readable(remark), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(1)

    def table_of(self, rows: Sequence[Row]) -> None:
        self._face("", 8.5, _INK)
        self.set_draw_color(_RULE)
        heads = FontFace(emphasis="BOLD", fill_color=_HEAD, color=_INK)
        with self.table(
            col_widths=_SHARES, headings_style=heads, line_height=4.4, text_align="LEFT", padding=(0.8, 1.2)
        ) as table:
            table.row(_COLUMNS)
            for row in rows:
                cells = (row.image, row.gradability, row.retinopathy, row.referable)
                lesions = (", " if len(rows) > _FEW_ROWS else "\n").join(map(readable, row.lesions))
                table.row([*map(readable, cells), lesions])
        self.ln(3)

    # --------------------------------------------------------------------------------------------------- the pictures

    def plates(self, plates: Sequence[Plate], strokes: Mapping[str, Stroke]) -> None:
        """In rows; a row that does not fit begins a page."""
        across = plates_across(len(plates))
        width = (_INNER - (across - 1) * _GAP) / across
        for first in range(0, len(plates), across):
            row = plates[first : first + across]
            high = max(self._height(plate, width) for plate in row)
            if self.get_y() + high > _HEIGHT - _FOOT:
                self.add_page()
            top = self.get_y()
            for number, plate in enumerate(row):
                self._plate(plate, strokes, _MARGIN + number * (width + _GAP), top, width)
            self.set_y(top + high + 2)

    def _height(self, plate: Plate, width: float) -> float:
        counts = len(plate.caption.counts)
        return (
            self._head(plate.caption, width, is_drawn=False)
            + self._tall(plate, width)
            + 1
            + 3.8 * ceil(counts / _beside(width))
        )

    def _plate(self, plate: Plate, strokes: Mapping[str, Stroke], left: float, top: float, width: float) -> None:
        self.set_xy(left, top)
        self._head(plate.caption, width, is_drawn=True)
        y, high = self.get_y(), self._tall(plate, width)
        if plate.picture is None:
            self.set_draw_color(_RULE)
            self.rect(left, y, width, high)
            self.set_xy(left + _FRAME, y + _FRAME)
            self._instead(plate, width, is_drawn=True)
        else:
            self.image(BytesIO(plate.picture.jpeg), x=left, y=y, w=width, h=high, keep_aspect_ratio=True)
        self._legend(plate.caption.counts, strokes, left, y + high + 1, width)

    def _tall(self, plate: Plate, width: float) -> float:
        """Height of the place for a picture of that width, or for words instead; a high picture is narrower."""
        if plate.picture is None:
            return 2 * _FRAME + self._instead(plate, width, is_drawn=False)
        return min(width * plate.picture.size.rows / plate.picture.size.columns, _HEIGHT / 2)

    def _instead(self, plate: Plate, width: float, *, is_drawn: bool) -> float:
        """What stands in the place of a picture; returns its height."""
        self._face("B", _SMALL, _ALARM)
        high = self.multi_cell(
            width - 2 * _FRAME,
            4,
            readable(plate.instead),
            align="C",
            dry_run=not is_drawn,
            output=MethodReturnValue.HEIGHT,
        )
        assert isinstance(high, float | int)  # noqa: S101 - what was asked for
        return high

    def _head(self, caption: Caption, width: float, *, is_drawn: bool) -> float:
        """What stands above a picture; returns its height."""
        left, top = self.get_x(), self.get_y()
        high = 0.0
        size = _SMALL if width > 50 else 6.0
        for style, text in (("B", caption.title), ("", caption.taken), ("", caption.result)):
            if not text:
                continue
            self._face(style, size + (style == "B"), _INK)
            self.set_xy(left, top + high)
            added = self.multi_cell(
                width,
                0.5 * size,
                readable(text),
                align="L",
                dry_run=not is_drawn,
                output=MethodReturnValue.HEIGHT,
                new_x=XPos.LEFT,
                new_y=YPos.NEXT,
            )
            assert isinstance(added, float | int)  # noqa: S101 - what was asked for
            high += added
        if is_drawn:
            self.set_xy(left, top + high + 0.8)
        else:
            self.set_xy(left, top)
        return high + 0.8

    def _legend(
        self, counts: Mapping[str, int], strokes: Mapping[str, Stroke], left: float, top: float, width: float
    ) -> None:
        self._face("", 6.8, _INK)
        beside = _beside(width)
        for number, (kind, count) in enumerate(counts.items()):
            x = left + (number % beside) * width / beside
            y = top + (number // beside) * 3.8
            self._sample(strokes[kind], x + 0.6, y + 0.6)
            self.set_xy(x + 4.2, y)
            text = f"{strokes[kind].letters} {readable(kind)}: {count}"
            self.cell(width / beside - 4.2, 3.6, self._shortened(text, width / beside - 5.2, f": {count}"))

    def _shortened(self, text: str, width: float, end: str) -> str:
        """A name that is too long loses its middle, never its number."""
        name = text.removesuffix(end)
        while len(name) > 3 and self.get_string_width(f"{name}{end}") > width:
            name = f"{name.removesuffix('…')[:-1]}…"
        return f"{name}{end}"

    def _sample(self, stroke: Stroke, x: float, y: float) -> None:
        """A box of 2.4 mm as it is drawn on the pictures, on the ground that they have."""
        self.set_fill_color(_INK)
        self.rect(x - 0.5, y - 0.5, 3.4, 3.4, style="F")
        self.set_draw_color(stroke.colour)
        self.set_line_width(0.35)
        side = 2.4
        match stroke.line:
            case Line.SOLID:
                self.rect(x, y, side, side)
            case Line.DASHED:
                self.set_dash_pattern(dash=0.5, gap=0.35)
                self.rect(x, y, side, side)
                self.set_dash_pattern()
            case Line.CORNERS:
                for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
                    corner_x, corner_y = x + dx * side, y + dy * side
                    self.line(corner_x, corner_y, corner_x + (0.8 if dx == 0 else -0.8), corner_y)
                    self.line(corner_x, corner_y, corner_x, corner_y + (0.8 if dy == 0 else -0.8))
            case Line.TICKED:
                self.rect(x + 0.5, y + 0.5, side - 1, side - 1)
                middle_x, middle_y = x + side / 2, y + side / 2
                self.line(middle_x, y - 0.2, middle_x, y + 0.5)
                self.line(middle_x, y + side - 0.5, middle_x, y + side + 0.2)
                self.line(x - 0.2, middle_y, x + 0.5, middle_y)
                self.line(x + side - 0.5, middle_y, x + side + 0.2, middle_y)
        self.set_line_width(0.2)

    # --------------------------------------------------------------------------------------------------------- inside

    def _face(self, style: str, size: float, colour: str) -> None:
        self.set_font(_SANS, style, size)
        self.set_text_color(colour)

    def written(self) -> bytes:
        return bytes(self.output())


def readable(text: str) -> str:
    """As our fonts can show it; braces of the count of pages are of no text but ours."""
    return lettering.readable(text, lettering.REGULAR, lettering.DEVANAGARI).replace("{pages}", "{ pages }")


def plates_across(count: int) -> int:
    """How many pictures stand side by side: one or two eyes large, a long series as thumbnails."""
    return min(2, max(1, count)) if count <= 4 else 3 if count <= 12 else min(6, ceil(sqrt(count / 2)) + 1)


def _beside(width: float) -> int:
    """How many kinds of lesions a line of a legend has room for."""
    return max(1, int(width // 42))
