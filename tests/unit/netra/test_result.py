"""The parser of the result: tolerant of every shape, and never of a doubt."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_relay.domain.analysis import Analysis, Graded, Lesion, NotFundus, Ungradable
from fundus_relay.domain.errors import AnswerNotUnderstood
from fundus_relay.domain.geometry import Box, Size
from fundus_relay.netra.notation import read_object
from fundus_relay.netra.result import understand

# Source: sample output (a) of "Get Result for DR Analysis", Netra API 1.0, typographic quotes included.
SAMPLE = (
    "{“drYes”:”Detected”,”referrableDR”:”YES”,”imageQuality”:”Gradable Image”,”eyeOrNot”:”YES”}”lesionBbox”:"
    "[{“bbox”:”[959,729,1042,812]”,”lesionType”:”Deep Hemorrhage”},"
    "{“bbox”:”[795,850,870,932]”,”lesionType”:”Hard Exudate”},"
    "{“bbox”:”[524,972,572,1052]”,”lesionType”:”Deep Hemorrhage”}]"
)
WORDS = {"drYes": "Detected", "referrableDR": "YES", "imageQuality": "Gradable Image", "eyeOrNot": "YES"}
BOX = {"bbox": "[959,729,1042,812]", "lesionType": "Deep Hemorrhage"}


def broken(words: dict[str, str], boxes: list[dict[str, Any]]) -> str:  # Any: box as text or as a list
    """As the sample has it: the object closed before its last member."""
    return f'{json.dumps(words)}"lesionBbox":{json.dumps(boxes)}'


SHAPES: dict[str, Callable[[dict[str, str], list[dict[str, Any]]], Any]] = {  # Any: as above
    "as in the sample": broken,
    "with a comma": lambda words, boxes: f'{json.dumps(words)},"lesionBbox":{json.dumps(boxes)}',
    "closed a second time": lambda words, boxes: broken(words, boxes) + "}",
    "wrapped": lambda words, boxes: "{" + broken(words, boxes) + "}",
    "two objects": lambda words, boxes: f'{json.dumps(words)} {{"lesionBbox": {json.dumps(boxes)}}}',
    "two objects and a comma": lambda words, boxes: f'{json.dumps(words)},{{"lesionBbox":{json.dumps(boxes)}}}',
    "well-formed": lambda words, boxes: json.dumps({**words, "lesionBbox": boxes}),
    "boxes first": lambda words, boxes: json.dumps({"lesionBbox": boxes, **words}),
    "boxes within a string": lambda words, boxes: json.dumps({**words, "lesionBbox": json.dumps(boxes)}),
    "an object, no string": lambda words, boxes: read_object(json.dumps({**words, "lesionBbox": boxes}), "result"),
}

shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def conclusion(analysis: Analysis) -> object:
    """What was concluded, without the words that led to it."""
    if isinstance(analysis, Graded):
        return analysis.has_retinopathy, analysis.is_referable, [(each.literal, each.box) for each in analysis.lesions]
    return type(analysis)


def verdict(analysis: Analysis) -> object:
    """What was concluded, without the names and numbers of the boxes."""
    if isinstance(analysis, Graded):
        return analysis.has_retinopathy, analysis.is_referable, len(analysis.lesions)
    return type(analysis)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[Box, Any]:  # Any: the box as text or as a list
    """A box, and one of the ways to say it."""
    left, top = draw(st.integers(0, 4000)), draw(st.integers(0, 4000))
    edges = [left, top, left + draw(st.integers(1, 500)), top + draw(st.integers(1, 500))]
    said = draw(st.sampled_from([json.dumps(edges), json.dumps(edges, separators=(",", ":")), edges]))
    return Box(*edges), said


names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=30)
lesions = st.lists(st.tuples(names, boxes()), max_size=5)


@st.composite
def results(draw: st.DrawFn, shape: str | None = None) -> tuple[Any, Analysis]:  # Any: text or object
    """A result that is as it should be, and what it says."""
    make = SHAPES[shape or draw(st.sampled_from(sorted(SHAPES)))]
    is_fundus, is_gradable, has_dr = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    is_referable = has_dr and draw(st.booleans())
    found = draw(lesions) if has_dr else []
    words = {
        "drYes": "Detected" if has_dr else "Not Detected",
        "referrableDR": "YES" if is_referable else "NO",
        "imageQuality": "Gradable Image"
        if is_gradable
        else draw(st.sampled_from(["Ungradable Image", "Not Gradable Image"])),
        "eyeOrNot": "YES" if is_fundus else "NO",
    }
    text = make(words, [{"bbox": said, "lesionType": name} for name, (_, said) in found])
    if not is_fundus:
        return text, NotFundus()
    if not is_gradable:
        return text, Ungradable()
    return text, Graded(has_dr, is_referable, tuple(Lesion(name, box, "") for name, (box, _) in found))


def test_the_documents_own_sample_is_read_whole() -> None:
    assert understand(SAMPLE) == Graded(
        True,
        True,
        (
            Lesion("Deep Hemorrhage", Box(959, 729, 1042, 812), "[959,729,1042,812]"),
            Lesion("Hard Exudate", Box(795, 850, 870, 932), "[795,850,870,932]"),
            Lesion("Deep Hemorrhage", Box(524, 972, 572, 1052), "[524,972,572,1052]"),
        ),
        WORDS,
    )


@shapes
def test_every_shape_says_the_same(shape: Callable[..., Any]) -> None:
    assert understand(shape(WORDS, [BOX])) == understand(broken(WORDS, [BOX]))


@given(results())
def test_what_is_written_is_what_is_read(case: tuple[Any, Analysis]) -> None:
    result, expected = case

    assert conclusion(understand(result)) == conclusion(expected)


@given(results(), st.data())
def test_a_result_that_was_cut_short_is_no_other_result(case: tuple[Any, Analysis], data: st.DataObject) -> None:
    result, expected = case
    text = result if isinstance(result, str) else broken(WORDS, [BOX])
    expected = expected if isinstance(result, str) else understand(text)
    damaged = text[: data.draw(st.integers(0, len(text)))]

    assert_same_or_refused(damaged, expected, conclusion)


@given(results().filter(lambda case: isinstance(case[0], str)), st.data())
def test_a_letter_lost_doubled_or_swapped_gives_no_other_verdict(
    case: tuple[str, Analysis], data: st.DataObject
) -> None:
    text, expected = case
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = data.draw(
        st.sampled_from(
            [
                text[:at] + text[at + 1 :],
                text[:at] + text[at] * 2 + text[at + 1 :],
                text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :],
            ]
        )
    )

    assert_same_or_refused(damaged, expected, verdict)


def test_no_single_damage_of_the_sample_gives_another_conclusion() -> None:
    text = broken(WORDS, [BOX, {"bbox": [1, 2, 3, 4], "lesionType": "Hard Exudate"}])
    expected = understand(text)
    before_the_boxes = text.index("[")  # a lost digit of a box is a box; what comes before is checked to the letter
    for at in range(len(text)):
        for damaged in (
            text[:at] + text[at + 1 :],
            text[:at] + text[at] + text[at:],
            text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :],
            *(text[:at] + other + text[at + 1 :] for other in '{}[]":, xN1'),
        ):
            assert_same_or_refused(damaged, expected, conclusion if at < before_the_boxes - 1 else verdict)


@given(st.text(max_size=200) | st.text(alphabet='{}[]",:“” aeilnoDdrYsNBbx0123456789', max_size=80))
def test_whatever_comes_nothing_but_a_refusal_leaves(text: str) -> None:
    with pytest.raises(AnswerNotUnderstood):
        understand(text)


def assert_same_or_refused(text: str, expected: Analysis, view: Callable[[Analysis], object]) -> None:
    """The claim of this module."""
    try:
        analysis = understand(text)
    except AnswerNotUnderstood:
        return
    assert view(analysis) == view(expected), text


@pytest.mark.parametrize("field", WORDS)
@pytest.mark.parametrize("said", ["", "Maybe", "N", "YES NO", 1, True, None, ["YES"], {"is": "YES"}])
def test_a_word_that_we_do_not_know_is_never_a_no(field: str, said: object) -> None:
    with pytest.raises(AnswerNotUnderstood, match=field):
        understand(json.dumps({**WORDS, field: said, "lesionBbox": []}))


@pytest.mark.parametrize("field", WORDS)
def test_a_missing_word_is_never_a_no(field: str) -> None:
    with pytest.raises(AnswerNotUnderstood, match=f"{field}: missing"):
        understand(broken({name: word for name, word in WORDS.items() if name != field}, [BOX]))


@pytest.mark.parametrize("field", WORDS)
def test_a_word_given_twice_and_differently_is_refused(field: str) -> None:
    with pytest.raises(AnswerNotUnderstood, match=field):
        understand('{"' + field + '":"No",' + broken(WORDS, [BOX])[1:])


def test_a_word_given_twice_and_alike_is_one_word() -> None:
    assert understand('{"drYes":"Detected",' + broken(WORDS, [BOX])[1:]) == understand(broken(WORDS, [BOX]))


@pytest.mark.parametrize(
    "said",
    [
        *(
            "[1,2,3]",
            "[1,2,3,4,5]",
            "[1,2,3,]",
            "1,2,3,4",
            "[1,2,3,4",
            "[1 2 3 4]",
            "[a,2,3,4]",
            "",
            "[]",
            "[1,2,３,4]",
        ),
        *("[3,2,1,4]", "[1,4,3,2]", "[1,2,1,4]", "[-1,2,3,4]", "[NaN,2,3,4]", "[1,2,Infinity,4]", "[1,2,1e400,4]"),
        *("[01,2,3,4]", "[1,2,3,4]]", "[[1,2,3,4]]", "[1,2,3,true]", "[1,2,3,4] [5,6,7,8]", '["1","2","3","4"]'),
        *([1, 2, 3], [True, 2, 3, 4], ["1", "2", "3", "4"], [1, 2, None, 4], [1, 2, 3, 10**400], None, 7, {"x": 1}),
    ],
)
def test_a_box_that_cannot_be_read_for_sure_is_refused(said: object) -> None:
    with pytest.raises(AnswerNotUnderstood, match=r"lesionBbox\[1\].bbox"):
        understand(broken(WORDS, [BOX, {"bbox": said, "lesionType": "Hard Exudate"}]))


@pytest.mark.parametrize("said", ["[1.5,2,3.25,4]", [1.5, 2, 3.25, 4], "[ 1.5 , 2.0 , 3.25 , 4e0 ]"])
def test_a_box_may_have_decimals(said: object) -> None:
    analysis = understand(broken(WORDS, [{"bbox": said, "lesionType": "Hard Exudate"}]))

    assert conclusion(analysis) == (True, True, [("Hard Exudate", Box(1.5, 2, 3.25, 4))])


@pytest.mark.parametrize("said", [None, "", "  ", 3, "x" * 201, "Deep\u0000Hemorrhage", "\ud800"])
def test_a_lesion_without_a_name_is_refused(said: object) -> None:
    with pytest.raises(AnswerNotUnderstood, match="lesionType"):
        understand(broken(WORDS, [{"bbox": "[1,2,3,4]", "lesionType": said}]))


def test_a_lesion_given_two_boxes_is_refused() -> None:
    with pytest.raises(AnswerNotUnderstood, match="bbox: given twice"):
        understand(broken(WORDS, [BOX]).replace('"lesionType"', '"bbox":"[1,2,3,4]","lesionType"'))


@pytest.mark.parametrize(("columns", "rows"), [(1041, 4000), (4000, 811)])
def test_a_box_that_leaves_the_picture_is_refused(columns: int, rows: int) -> None:
    with pytest.raises(AnswerNotUnderstood, match="outside"):
        understand(broken(WORDS, [BOX]), sent=Size(columns, rows))


def test_a_box_on_the_edge_of_the_picture_lies_in_it() -> None:
    assert isinstance(understand(broken(WORDS, [BOX]), sent=Size(1042, 812)), Graded)


def test_referable_without_retinopathy_is_refused() -> None:
    with pytest.raises(AnswerNotUnderstood, match="referrableDR"):
        understand(broken({**WORDS, "drYes": "Not Detected"}, []))


def test_lesions_without_retinopathy_are_refused() -> None:
    with pytest.raises(AnswerNotUnderstood, match="lesionBbox"):
        understand(broken({**WORDS, "drYes": "Not Detected", "referrableDR": "NO"}, [BOX]))


def test_retinopathy_without_a_word_on_lesions_is_the_sample_cut_in_two_and_refused() -> None:
    with pytest.raises(AnswerNotUnderstood, match="lesionBbox: missing"):
        understand(json.dumps(WORDS))


def test_no_retinopathy_needs_no_word_on_lesions() -> None:
    negative = {**WORDS, "drYes": "Not Detected", "referrableDR": "NO"}

    assert understand(json.dumps(negative)) == Graded(False, False, (), negative)


@pytest.mark.parametrize("quality", ["Ungradable Image", "not  gradable image"])
def test_what_comes_with_an_ungradable_image_is_suppressed(quality: str) -> None:
    analysis = understand(broken({**WORDS, "imageQuality": quality, "drYes": "Whatever"}, [{"bbox": "none"}]))

    assert analysis == Ungradable({**WORDS, "imageQuality": quality, "drYes": "Whatever"})


def test_what_comes_with_no_fundus_is_suppressed() -> None:
    assert isinstance(understand(broken({**WORDS, "eyeOrNot": "NO"}, [BOX])), NotFundus)


def test_nothing_unprintable_is_kept_of_what_is_suppressed() -> None:
    analysis = understand(broken({**WORDS, "eyeOrNot": "NO", "drYes": "\u0000"}, []))

    assert "drYes" not in analysis.literals


def test_boxes_may_stand_beside_the_result() -> None:
    beside = read_object(json.dumps({"boxes": [BOX]}), "reply").one("boxes")

    assert understand(json.dumps(WORDS), boxes=beside) == understand(broken(WORDS, [BOX]))


def test_boxes_beside_the_result_must_not_contradict_it() -> None:
    other = read_object(json.dumps({"boxes": [BOX, BOX]}), "reply").one("boxes")

    with pytest.raises(AnswerNotUnderstood, match="lesionBbox"):
        understand(broken(WORDS, [BOX]), boxes=other)


def test_a_typographic_quote_within_a_word_stays_there() -> None:
    analysis = understand(broken(WORDS, [{**BOX, "lesionType": "“Deep” Hemorrhage"}]).replace("\\u201c", "“"))

    assert conclusion(analysis) == (True, True, [("“Deep” Hemorrhage", Box(959, 729, 1042, 812))])


@pytest.mark.parametrize(
    "text",
    [
        broken(WORDS, [BOX]) + "]",
        broken(WORDS, [BOX]) + "}}",
        broken(WORDS, [BOX]) + broken(WORDS, [BOX]),
        json.dumps(WORDS) + json.dumps(WORDS),
        json.dumps(WORDS) + '"boxes":[]',
        json.dumps({**WORDS, "lesionBbox": {}}),
        json.dumps({**WORDS, "lesionBbox": ["[1,2,3,4]"]}),
        json.dumps(WORDS) + '"lesionBbox":"[]"',
        json.dumps(WORDS) + '"lesionBbox"[]',
        json.dumps(WORDS) + '{"lesionBbox":[]',
        json.dumps(WORDS) + '{"lesionBbox":[]}}}',
        json.dumps(WORDS) + "}",
        json.dumps(WORDS) + ",,",
        json.dumps([WORDS]),
        "[" * 100_000,
        "1" * 10_000,
        " " * 4_000_001,
    ],
)
def test_anything_more_or_less_is_refused(text: str) -> None:
    with pytest.raises(AnswerNotUnderstood):
        understand(text)


@pytest.mark.parametrize("result", [None, 7, True, ["x"]])
def test_a_result_that_is_neither_text_nor_object_is_refused(result: Any) -> None:  # Any: a JSON value
    with pytest.raises(AnswerNotUnderstood, match="result"):
        understand(result)


def test_a_refusal_names_the_field_and_shows_nothing_of_the_answer() -> None:
    with pytest.raises(AnswerNotUnderstood) as refused:
        understand(json.dumps({**WORDS, "drYes": "Jane Doe"}))

    assert str(refused.value) == "drYes: a word that we do not know"
