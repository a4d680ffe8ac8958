"""Pictures are cut out of a body while it arrives, however it is cut into chunks."""

from __future__ import annotations

import base64
import json
import random
from binascii import Error
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fundus_relay.domain.errors import InvalidResource
from fundus_relay.fhir.intake.attachment import Base64Decoder
from fundus_relay.fhir.intake.parsing import GATHERED, parse
from fundus_relay.fhir.intake.skeleton import MAX_DEPTH, MAX_SKELETON_BYTES, MAX_TOKENS, Cutter

Json = dict[str, Any]


class Picture(bytearray):
    """A sink."""

    def write(self, chunk: bytes) -> None:
        self.extend(chunk)


def cut(body: bytes, cuts: list[int] | None = None) -> tuple[bytes, dict[str, bytes]]:
    """The skeleton of a body that arrives in chunks which end at `cuts`, and its pictures."""
    pictures: dict[str, Picture] = {}

    def open_sink(path: str) -> Picture:
        assert path not in pictures
        pictures[path] = Picture()
        return pictures[path]

    cutter = Cutter(open_sink)
    edges = [0, *sorted(cuts or []), len(body)]
    for start, end in pairwise(edges):
        cutter.feed(body[start:end])
    return cutter.finish(), {path: bytes(picture) for path, picture in pictures.items()}


def refusal(body: bytes, cuts: list[int] | None = None) -> tuple[str, str]:
    with pytest.raises(InvalidResource) as caught:
        parse(cut(body, cuts)[0])
    issue = caught.value.issues[0]
    return issue.element, issue.code


def cut_by_a_parser(document: Any) -> tuple[Any, dict[str, bytes]]:
    """The same with the whole document in memory: what it is compared with."""
    pictures: dict[str, bytes] = {}

    def take(resource: Any, path: str) -> None:
        content = resource.get("content") if isinstance(resource, dict) else None
        if isinstance(content, dict) and isinstance(content.get("data"), str):
            pictures[path] = base64.b64decode("".join(content["data"].split()), validate=True)
            content["data"] = ""

    take(document, "Media.content.data")
    entries = document.get("entry") if isinstance(document, dict) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        take(entry.get("resource") if isinstance(entry, dict) else None, f"Bundle.entry[{index}].resource.content.data")
    return document, pictures


def written(document: Any, seed: int) -> bytes:
    """JSON with white space and escapes wherever a sender may put them."""
    chance = random.Random(seed)  # noqa: S311 - variety, no secret

    def character(each: str) -> str:
        manner = chance.randrange(12)
        if manner == 0 and ord(each) < 0x10000:
            return f"\\u{ord(each):04x}"
        if manner == 1 and each == "/":
            return "\\/"
        return json.dumps(each, ensure_ascii=chance.random() < 0.5)[1:-1]

    def white() -> str:
        return chance.choice(["", "", "", " ", "\n", "\r\n\t"])

    def value(part: Any) -> str:
        if isinstance(part, str):
            text = '"' + "".join(character(each) for each in part) + '"'
        elif isinstance(part, list):
            text = "[" + ",".join(value(item) for item in part) + "]"
        elif isinstance(part, dict):
            text = "{" + ",".join(f"{value(key)}:{value(item)}" for key, item in part.items()) + "}"
        else:
            text = json.dumps(part)
        return white() + text + white()

    return value(document).encode()


KEYS = st.sampled_from(["content", "data", "entry", "resource", "x"]) | st.text(
    st.characters(codec="utf-8"), max_size=3
)
BASE64 = st.builds(
    lambda data, gaps: "".join(each + gap for each, gap in zip(base64.b64encode(data).decode(), gaps, strict=False)),
    st.binary(max_size=30),
    st.lists(st.sampled_from(["", "", "", "", " ", "\n", "\r\n"]), min_size=40, max_size=40),
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
CONTENT = ANYTHING | st.dictionaries(KEYS.filter(lambda key: key != "data"), ANYTHING, max_size=2).flatmap(
    lambda other: st.fixed_dictionaries({"data": BASE64 | st.lists(TEXT, max_size=2) | st.none()}).map(
        lambda data: {**other, **data}
    )
)
CONTENT = CONTENT.filter(lambda content: not isinstance(content, dict) or _is_base64(content.get("data")))


def _is_base64(data: Any) -> bool:
    try:
        text = "".join(data.split())
        base64.b64decode(text, validate=True)
    except (Error, ValueError):
        return False
    except AttributeError:
        return True
    return len(text) % 4 == 0  # the standard library takes `0000=`, too


MEDIA = st.dictionaries(st.sampled_from(["id", "status", "note"]), ANYTHING, max_size=2).flatmap(
    lambda other: CONTENT.map(lambda content: {**other, "content": content})
)
ENTRY = st.dictionaries(st.sampled_from(["fullUrl", "request"]), ANYTHING, max_size=2).flatmap(
    lambda other: MEDIA.map(lambda media: {**other, "resource": media})
)
BUNDLE = st.lists(ENTRY | ANYTHING.filter(lambda each: not isinstance(each, dict)), max_size=3).map(
    lambda entries: {"type": "batch", "entry": entries}
)
DOCUMENT = MEDIA | BUNDLE | st.lists(MEDIA, max_size=2)


@given(DOCUMENT, st.integers(0, 10_000), st.lists(st.integers(0, 3_000), max_size=12))
def test_it_finds_what_a_parser_finds_however_the_body_is_written_and_split(
    document: Any, seed: int, cuts: list[int]
) -> None:
    body = written(document, seed)

    skeleton, pictures = cut(body, [min(each, len(body)) for each in cuts])

    expected, expected_pictures = cut_by_a_parser(json.loads(body))
    assert pictures == expected_pictures
    assert json.loads(skeleton) == expected


@given(DOCUMENT, st.integers(0, 10_000))
def test_one_byte_at_a_time_is_the_same_as_all_at_once(document: Any, seed: int) -> None:
    body = written(document, seed)

    assert cut(body, list(range(len(body)))) == cut(body)


@given(st.binary(max_size=120), st.lists(st.integers(0, 120), max_size=8))
@example(b'{"content":{"data":"', [])
@example(b'{"content":{"data":"QUJD\\', [24])
@example(b"}", [])
@example(b"", [])
def test_whatever_arrives_is_refused_in_our_words_or_parsed(body: bytes, cuts: list[int]) -> None:
    try:
        parse(cut(body, [min(each, len(body)) for each in cuts])[0])
    except InvalidResource as why:
        assert why.issues


@given(
    st.text(st.sampled_from("AQz09+/=-_ \n*é"), max_size=24)
    | st.binary(max_size=18).map(lambda data: base64.b64encode(data).decode()),
    st.lists(st.integers(0, 24), max_size=6),
)
def test_base64_is_taken_exactly_when_it_is_strict_base64_between_white_space(text: str, cuts: list[int]) -> None:
    body = json.dumps(text, ensure_ascii=False).encode()[1:-1]
    picture = Picture()
    decoder = Base64Decoder(picture, "Media.content.data")
    edges = [0, *sorted(min(each, len(body)) for each in cuts), len(body)]

    def decode() -> bytes:
        for start, end in pairwise(edges):
            decoder.feed(body[start:end])
        decoder.finish()
        return bytes(picture)

    if _is_base64(text):
        assert decode() == base64.b64decode("".join(text.split()))
    else:
        with pytest.raises(InvalidResource):
            decode()


@pytest.mark.parametrize(
    "data",
    [
        "QUJD*UJD",
        "QUJ",
        "QUJDQ",
        "QQ==QUJD",
        "QQ=",
        "====",
        "QQ-_",
        "QUJD\\\\n",
        "QUJD\\\\/UJD",
        "QUJD\\\\u0041",
        'QUJD\\"',
        "QUJD\\u0022",
        "QUJD\\u00e9",
        "QUJD\\u",
        "QUJD\\x",
        "QUJD\\b",
        "QUJD\n",
        "\\u0051UJD\n",
        "\\u0051UJ\\ud83d",
        "QUJDé",
    ],
)
@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_broken_base64_names_its_element(data: str, step: int) -> None:
    body = f'{{"resourceType": "Media", "content": {{"data": "{data}", "contentType": "image/png"}}}}'.encode()

    assert refusal(body, list(range(0, len(body), step))) == ("Media.content.data", "base64-broken")


def test_the_url_safe_alphabet_is_refused_by_name() -> None:
    with pytest.raises(InvalidResource) as caught:
        cut(b'{"content": {"data": "__--"}}')

    assert "url-safe" in caught.value.issues[0].text


def test_a_picture_of_a_bundle_is_named_by_its_entry() -> None:
    body = b'{"entry": [{}, "x", {"resource": {"content": {"data": "QUJD"}, "resourceType": "Media"}}]}'

    _, pictures = cut(body)

    assert pictures == {"Bundle.entry[2].resource.content.data": b"ABC"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"contained": [{"content": {"data": "*"}}]}',
        b'{"content": [{"data": "*"}]}',
        b'{"content": {"data": ["*"]}}',
        b'{"content": {"x": {"data": "*"}}}',
        b'{"content": {"x": "data", "y": "*"}}',
        b'{"entry": {"resource": {"content": {"data": "*"}}}}',
        b'{"entry": [[{"resource": {"content": {"data": "*"}}}]]}',
        b'{"entry": [{"content": {"data": "*"}}]}',
        b'[{"content": {"data": "*"}}]',
        b'{"x": {"data": "*"}}',
        b'{"entry": {"x": {"resource": {"content": {"data": "*"}}}}}',
    ],
)
def test_nothing_is_cut_elsewhere(body: bytes) -> None:
    assert cut(body) == (body, {})


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("step", [1, 2, 100])
def test_a_byte_order_mark_is_skipped(bom: bytes, step: int) -> None:
    body = bom + b'{"content": {"data": "QUJD"}}'

    assert cut(body, list(range(0, len(body), step)))[1] == {"Media.content.data": b"ABC"}


@pytest.mark.parametrize("body", [b"", b"{", b"7"])
def test_a_body_of_a_byte_or_two_is_whole(body: bytes) -> None:
    assert cut(body)[0] == body


def test_a_body_that_ends_within_a_picture_is_refused() -> None:
    assert refusal(b'{"resourceType": "Media", "content": {"data": "QUJD') == ("", "json-malformed")


def test_depth_is_bounded() -> None:
    cut(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)

    assert refusal(b"[" * (MAX_DEPTH + 1)) == ("", "json-malformed")


def test_the_number_of_elements_is_bounded() -> None:
    assert refusal(b"[" + b"0," * MAX_TOKENS + b"0]") == ("", "json-malformed")


@pytest.mark.parametrize("chunk", [b'["' + b"x" * MAX_SKELETON_BYTES, b"[ " + b" " * MAX_SKELETON_BYTES])
def test_what_is_no_picture_is_bounded(chunk: bytes) -> None:
    assert refusal(chunk + b'"]') == ("", "body-too-large")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"not json", ("", "json-malformed")),
        (b'{"resourceType": "Media", "x": NaN}', ("", "json-malformed")),
        (b'{"resourceType": "Media", "x": 1e999}', ("", "json-malformed")),
        (b'{"resourceType": "Media", "x": ' + b"9" * 5000 + b"}", ("", "json-malformed")),
        (b'{"resourceType": "Media"} {}', ("", "json-malformed")),
        (b'{"resourceType": "Media", "title": "\xff"}', ("", "json-malformed")),
        ('{"resourceType": "Media"}'.encode("utf-16"), ("", "json-malformed")),
        (b"[]", ("", "not-fhir")),
        (b'"Media"', ("", "not-fhir")),
        (b'{"status": "completed"}', ("", "not-fhir")),
        (b'{"resourceType": 5}', ("", "not-fhir")),
        (b'{"resourceType": "Media", "note": [{"text": "a", "text": "b"}]}', ("Media.note[0].text", "element-twice")),
        (b'{"resourceType": "Media", "Jane Roe": 1, "Jane Roe": 2}', ("Media.(unknown)", "element-twice")),
        (b'{"resourceType": "Media", "deviceName": "a\\u0000"}', ("Media.deviceName", "character-forbidden")),
        (b'{"resourceType": "Media", "deviceName": "\\ud800"}', ("Media.deviceName", "character-forbidden")),
    ],
)
def test_what_is_no_json_of_fhir_is_refused(body: bytes, expected: tuple[str, str]) -> None:
    assert refusal(body) == expected


def test_characters_that_are_forbidden_are_not_looked_for_to_the_end() -> None:
    with pytest.raises(InvalidResource) as caught:
        parse(b'{"resourceType": "Media", "deviceName": [%s]}' % b", ".join([b'"\\u0001"'] * 1000))

    assert len(caught.value.issues) == GATHERED


def test_a_key_of_a_picture_that_stands_twice_is_refused() -> None:
    body = b'{"resourceType": "Media", "content": {"data": "QUJD", "x": 1, "x": 2}}'

    assert refusal(body) == ("Media.content.x", "element-twice")
