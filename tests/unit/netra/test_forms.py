"""What is sent, as a form parser of the other side reads it."""

from __future__ import annotations

from base64 import b64decode
from urllib.parse import parse_qs

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.analyser import Whole

from fundus_relay.netra.forms import UploadForm, job_form, token_form


async def pieces_of(form: UploadForm) -> list[bytes]:
    return [piece async for piece in form.pieces()]


async def sent(form: UploadForm) -> dict[str, list[str]]:
    return parse_qs(b"".join(await pieces_of(form)).decode("ascii"), strict_parsing=True)


def test_getToken_asks_for_the_diabetic_retinopathy_api() -> None:  # noqa: N802 - the call's name
    assert parse_qs(token_form("user+1", "p&=%ä").decode()) == {
        "username": ["user+1"],
        "password": ["p&=%ä"],
        "apiRequestType": ["DIAB_RETINA"],
    }


def test_a_job_is_named_by_both_spellings() -> None:
    assert parse_qs(job_form("T/+=", "J").decode()) == {"token": ["T/+="], "jobId": ["J"], "jobid": ["J"]}


@given(st.binary(max_size=50), st.integers(1, 20), st.sampled_from(["image/jpeg", "image/png"]))
async def test_a_picture_arrives_as_the_sample_client_sends_it(picture: bytes, piece: int, media_type: str) -> None:
    form = UploadForm(Whole(picture, piece), media_type, "image-1", "T/+=")

    prefix, encoded = (await sent(form))["image"][0].split(",", 1)

    assert prefix == f"data:{media_type};base64"
    assert b64decode(encoded, altchars=b"-_", validate=True) == picture
    assert form.byte_count == sum(map(len, await pieces_of(form)))


async def test_nothing_but_the_picture_its_name_and_the_token_is_sent() -> None:
    form = UploadForm(Whole(b"picture"), "image/png", "image-1", "T")

    assert {name: value for name, value in (await sent(form)).items() if name != "image"} == {
        "imageName": ["image-1.png"],
        "token": ["T"],
    }


async def test_the_token_is_the_last_piece_so_that_half_a_form_has_none() -> None:
    *before, last = await pieces_of(UploadForm(Whole(b"picture"), "image/jpeg", "image-1", "secret"))

    assert last == b"&token=secret"
    assert b"secret" not in b"".join(before)


def test_a_form_shows_neither_token_nor_picture() -> None:
    shown = repr(UploadForm(Whole(b"pixels"), "image/jpeg", "image-1", "secret"))

    assert "secret" not in shown
    assert "pixels" not in shown
