"""The result string: the document's sample to the letter, and no verdict where nothing could be judged."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fundus_relay.standin.answers import NORMAL, Seen, result_of

SAMPLE = Seen(
    True,
    True,
    True,
    True,
    [
        ("Deep Hemorrhage", (959, 729, 1042, 812)),
        ("Hard Exudate", (795, 850, 870, 932)),
        ("Deep Hemorrhage", (524, 972, 572, 1052)),
    ],
)
DOCUMENT = (
    '{"drYes":"Detected","referrableDR":"YES","imageQuality":"Gradable Image","eyeOrNot":"YES"}"lesionBbox":['
    '{"bbox":"[959,729,1042,812]","lesionType":"Deep Hemorrhage"},'
    '{"bbox":"[795,850,870,932]","lesionType":"Hard Exudate"},'
    '{"bbox":"[524,972,572,1052]","lesionType":"Deep Hemorrhage"}]'
)
"""Source: Netra API 1.0, getResult, sample (a), its quotes straight."""

boxes = st.tuples(*[st.integers(0, 9999)] * 4)
sights = st.builds(
    Seen,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(st.just("Hard Exudate"), boxes)),
)


def test_the_documents_sample_is_written_to_the_letter() -> None:
    assert result_of(SAMPLE, "document") == DOCUMENT


def test_the_documents_quotes_are_a_choice() -> None:
    told = result_of(SAMPLE, "typographic")

    assert told.startswith("{“drYes”:“Detected”")
    assert told.replace("“", '"').replace("”", '"') == DOCUMENT


def test_the_mended_shape_is_one_object() -> None:
    told = json.loads(result_of(SAMPLE, "well-formed"))

    assert told["drYes"] == "Detected"
    assert told["lesionBbox"][1] == {"bbox": "[795,850,870,932]", "lesionType": "Hard Exudate"}


def test_a_normal_eye_has_the_opposite_words_and_no_box() -> None:
    assert json.loads(result_of(NORMAL, "well-formed")) == {
        "drYes": "Not Detected",
        "referrableDR": "NO",
        "imageQuality": "Gradable Image",
        "eyeOrNot": "YES",
        "lesionBbox": [],
    }


@given(sights)
def test_nothing_is_detected_or_boxed_in_what_could_not_be_judged(seen: Seen) -> None:
    told = json.loads(result_of(seen, "well-formed"))

    is_told = seen.is_fundus and seen.is_gradable
    assert (told["imageQuality"] == "Gradable Image") == is_told
    assert (told["drYes"] == "Detected") == (is_told and seen.has_retinopathy)
    assert (told["referrableDR"] == "YES") == (is_told and seen.is_referable)
    assert len(told["lesionBbox"]) == (len(seen.lesions) if is_told and seen.has_retinopathy else 0)
