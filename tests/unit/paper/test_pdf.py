"""The PDF of a report, read by another program than wrote it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import pytest
from PIL import Image
from pypdf import PageObject, PdfReader
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.domain.geometry import Size
from fundus_relay.domain.sheets import Caption, Drawn, Plate, Row, Sheet
from fundus_relay.domain.strokes import strokes_of
from fundus_relay.paper.pdf import pdf_of

COUNTS = {"Deep Hemorrhage": 3, "Hard Exudate": 12, "Microaneurysm": 40, "Soft Exudate": 1}
STROKES = strokes_of([*COUNTS, "x" * 200])
SHEET = Sheet(
    title="Retinal eye screening report",
    state="PRELIMINARY - UNSIGNED - AI-GENERATED",
    warnings=(),
    facts=(("Patient", "Patient/123"), ("Report", "a" * 64), ("Revision", "2")),
    remarks=(),
    rows=(
        Row("Right eye (OD)", "Gradable", "Detected", "Yes", tuple(f"{kind}: {n}" for kind, n in COUNTS.items())),
        Row("Left eye (OS)", "Cannot be graded", "No statement", "No statement", ("No statement",)),
    ),
    disclaimer="An ancillary tool.",
    foot=f"Report {'a' * 64} · revision 2 · issued 2026-11-23 09:30 UTC",
    issued=datetime(2026, 11, 23, 9, 30, 15, tzinfo=UTC),
)
STANDIN = ("STAND-IN: SIMULATED RESULT - NOT FOR PATIENT CARE",)


def a_plate(number: int = 1, *, is_lost: bool = False, size: Size = Size(600, 400), **caption: object) -> Plate:  # noqa: B008
    told = Caption(
        "Right eye (OD)", f"taken 2026-11-{number % 28 + 1:02}", "Retinopathy detected", (), COUNTS, "Report 1"
    )
    picture = Image.open(BytesIO(a_jpeg(size, noise=5))).rotate(number)
    file = BytesIO()
    picture.save(file, "JPEG", quality=60)
    return Plate(replace(told, **caption), None if is_lost else Drawn(file.getvalue(), size))  # type: ignore[arg-type]  # by name


def pages(sheet: Sheet, plates: Sequence[Plate]) -> list[str]:
    """The words of each page."""
    reader = PdfReader(BytesIO(pdf_of(sheet, plates, STROKES)))
    return [" ".join(page.extract_text().split()) for page in reader.pages]


def test_a_study_of_two_eyes_is_one_page_that_says_everything() -> None:
    (page,) = pages(SHEET, [a_plate(1), a_plate(2, title="Left eye (OS)")])

    for words in ("Retinal eye screening report", "Patient/123", "Cannot be graded", "No statement", "Detected"):
        assert words in page
    for kind, count in COUNTS.items():
        assert page.count(f"{kind}: {count}") == 3  # in the table and below each picture
    assert "Page 1 of 1" in page


@pytest.mark.parametrize(("count", "most"), [(1, 1), (2, 1), (4, 2), (6, 2), (12, 3)])
def test_usual_counts_of_photographs_need_few_pages(count: int, most: int) -> None:
    rows = SHEET.rows[:1] * count

    assert len(pages(replace(SHEET, rows=rows), [a_plate(n) for n in range(count)])) <= most


def test_every_page_says_what_it_is_and_what_it_is_not() -> None:
    told = pages(replace(SHEET, warnings=STANDIN, rows=SHEET.rows * 40), [a_plate(n) for n in range(9)])

    assert len(told) > 3
    for number, page in enumerate(told, start=1):
        for words in (*STANDIN, SHEET.state, SHEET.disclaimer, SHEET.foot, f"Page {number} of {len(told)}"):
            assert words in page


def test_without_a_stand_in_none_is_spoken_of() -> None:
    assert "STAND-IN" not in " ".join(pages(SHEET, [a_plate()]))


def test_what_is_missing_is_said_first() -> None:
    (page,) = pages(replace(SHEET, remarks=("Left eye (OS): no result yet.",)), [a_plate()])

    assert page.index("no result yet") < page.index("Quality")


def test_a_picture_that_cannot_be_shown_is_told_of() -> None:
    (page,) = pages(SHEET, [a_plate(1), a_plate(2, is_lost=True)])

    assert page.count("This photograph cannot be shown.") == 1


@pytest.mark.parametrize("count", [1, 4, 40])
def test_where_a_picture_is_instead_stands_within_its_place(count: int) -> None:
    words = (
        "This photograph cannot be shown again. Its picture with boxes is that of the revision of 2026-11-23 09:30 UTC."
    )
    plates = [replace(a_plate(n, is_lost=True, title=f"Eye {n}"), instead=words) for n in range(count)]

    told = " ".join(pages(replace(SHEET, rows=SHEET.rows[:1] * count), plates))

    assert told.count(words) == count


def test_words_instead_of_a_picture_and_the_legend_below_stand_clear_of_each_other() -> None:
    words = "A sentence that takes some of the lines of a place. " * 20
    plate = replace(a_plate(is_lost=True), instead=words)
    (page,) = PdfReader(BytesIO(pdf_of(replace(SHEET, rows=SHEET.rows[1:]), [plate], STROKES))).pages
    at: list[tuple[str, float]] = []

    page.extract_text(visitor_text=lambda text, _, matrix, *__: at.append((text, matrix[5])))

    lowest = min(y for text, y in at if "sentence" in text)
    highest = max(y for text, y in at if "Hemorrhage" in text)
    assert lowest - highest > 10  # points: more than a line


def test_pictures_are_those_that_were_given() -> None:
    plates = [a_plate(1), a_plate(2)]
    reader = PdfReader(BytesIO(pdf_of(SHEET, plates, STROKES)))

    shown = [image.image.size for image in reader.pages[0].images if image.image]
    assert shown == [(600, 400), (600, 400)]
    assert all(plate.picture and plate.picture.jpeg in pdf_of(SHEET, plates, STROKES) for plate in plates)


@pytest.mark.parametrize("size", [Size(600, 400), Size(500, 500), Size(300, 900)])
@pytest.mark.parametrize("count", [1, 2, 5, 13, 60])
def test_every_picture_keeps_its_shape_and_stays_on_its_page(size: Size, count: int) -> None:
    reader = PdfReader(BytesIO(pdf_of(SHEET, [a_plate(n, size=size) for n in range(count)], STROKES)))

    placed = [each for page in reader.pages for each in places(page)]
    assert len(placed) == count
    for wide, high, left, bottom in placed:
        assert wide / high == pytest.approx(size.columns / size.rows, rel=0.01)
        assert left >= 30
        assert bottom >= 55
        assert left + wide <= 595 - 30
        assert bottom + high <= 842 - 60


def places(page: PageObject) -> list[tuple[float, float, float, float]]:
    """Width, height, left and lower edge of each picture, in points."""
    found: list[tuple[float, float, float, float]] = []

    def visit(operator: bytes, _: object, cm: list[float], __: object) -> None:
        if operator == b"Do":
            found.append((cm[0], cm[3], cm[4], cm[5]))

    page.extract_text(visitor_operand_before=visit)
    return found


def test_two_hundred_photographs_are_small_but_there() -> None:
    plates = [a_plate(n, size=Size(240, 160)) for n in range(200)]

    reader = PdfReader(BytesIO(pdf_of(replace(SHEET, rows=SHEET.rows[:1] * 200), plates, STROKES)))

    assert sum(len(page.images) for page in reader.pages) == 200


OUTSIDE = (
    "</script>",
    "(paren\\)",
    "%PDF",
    "{pages}",
    "{nb}",
    "**bold**",
    "नितिन शर्मा",
    "Jürgen Großmann",
    "王 👁 \u202e",
    "a\x00b",
)


@pytest.mark.parametrize("words", OUTSIDE)
def test_words_from_outside_are_words(words: str) -> None:
    plain = " ".join(pages(SHEET, [a_plate()]))
    sheet = replace(SHEET, facts=(("Patient", words),), rows=(Row(words, words, words, words, (words,)),), foot=words)

    told = " ".join(pages(sheet, [a_plate(1, title=words, result=words, counts={"x" * 200: 7})]))

    assert "Page 1 of 1" in told
    assert re.search(r"x…: 7\b", told)
    if words.isascii() and words.isprintable() and "pages" not in words:
        assert told.count(words) > plain.count(words) + 5


def test_a_name_in_devanagari_can_be_copied_out_again() -> None:
    (page,) = pages(replace(SHEET, facts=(("Patient", "शर्मा"),)), [])

    assert any("\u0900" <= character <= "\u097f" for character in page)


def test_what_no_font_has_is_shown_by_its_code_point() -> None:
    (page,) = pages(replace(SHEET, facts=(("Patient", "王"),)), [])

    assert "U+738B" in page


def test_an_endless_word_stays_within_its_column() -> None:
    told = pages(replace(SHEET, facts=(("Patient", "W" * 400),)), [a_plate()])

    assert sum(page.count("W") for page in told) == 400


def test_an_identifier_is_broken_between_its_words() -> None:
    value = "urn:oid:1.2.826.0.1.3680043.10.2.999 " * 5
    told = BytesIO(pdf_of(replace(SHEET, facts=(("Imaging study", value.strip()),)), [a_plate()], STROKES))

    rows = PdfReader(told).pages[0].extract_text().splitlines()
    assert sum(row.count("urn:oid:1.2.826.0.1.3680043.10.2.999") for row in rows) == 5


def test_the_same_report_is_the_same_bytes() -> None:
    plates = [a_plate(1), a_plate(2)]

    assert pdf_of(SHEET, plates, STROKES) == pdf_of(SHEET, plates, STROKES)


def test_its_properties_name_nobody_and_no_other_time_than_the_reports() -> None:
    about = PdfReader(BytesIO(pdf_of(replace(SHEET, facts=(("Patient", "Maria Mustermann"),)), [], STROKES))).metadata

    assert about is not None
    assert about.title == "Retinal eye screening report, AI-generated"
    assert "Mustermann" not in str(about)
    assert about.creation_date == SHEET.issued
    assert set(about) == {"/Title", "/Producer", "/CreationDate"}
