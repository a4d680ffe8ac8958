"""The four replies, in every spelling of the document and in none that is not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_relay.domain.analysis import AnalysisFailed, Graded
from fundus_relay.domain.errors import AnswerNotUnderstood
from fundus_relay.netra.notation import Members
from fundus_relay.netra.replies import (
    Refusal,
    Refused,
    TokenReply,
    UploadReply,
    moment,
    read_reply,
    read_result,
    read_status,
    read_token,
    read_upload,
    says_standin,
)

RESULT = '{"drYes":"Not Detected","referrableDR":"NO","imageQuality":"Gradable Image","eyeOrNot":"YES"}"lesionBbox":[]'


def reply(**fields: Any) -> Members:  # Any: JSON
    return read_reply(json.dumps(fields).encode())


def test_a_token_reply_of_the_document_is_read() -> None:
    # Source: sample output of "Get Token", Netra API 1.0.
    read = read_token(reply(status=200, token="LMoXQt", remaining=100, validUpto=1517613274139))

    assert read == TokenReply("LMoXQt", datetime(2018, 2, 2, 23, 14, 34, 139000, UTC), 100)
    assert "LMoXQt" not in repr(read)


@pytest.mark.parametrize("token", [None, "", " ", 7, "a\nb"])
def test_a_token_reply_without_a_token_is_not_understood(token: object) -> None:
    with pytest.raises(AnswerNotUnderstood, match="token"):
        read_token(reply(status=200, token=token))


@pytest.mark.parametrize("fields", [{"validUpto": "soon"}, {}, {"remaining": "many"}, {"remaining": -1}])
def test_an_odd_time_or_count_is_no_reason_to_lose_a_token(fields: dict[str, object]) -> None:
    assert read_token(reply(status="200", token="T", **fields)) == TokenReply("T", None, None)


@pytest.mark.parametrize("message", ["", "Invalid username or password", "Invalid token request", "Go away"])
def test_an_account_that_gets_no_token_is_refused(message: str) -> None:
    with pytest.raises(Refused) as refused:
        read_token(reply(status=411, message=message))

    assert refused.value.why is Refusal.CREDENTIALS


@pytest.mark.parametrize("spelling", ["jobId", "jobid", "JobID"])
def test_an_upload_reply_is_read_by_every_spelling(spelling: str) -> None:
    # Source: sample output (c) of "Upload Image", Netra API 1.0.
    assert read_upload(reply(status=200, jobStatus="QUEUED", remaining=43110, **{spelling: "J"})) == UploadReply(
        "J", 43110
    )


@pytest.mark.parametrize(
    ("status", "message", "why", "code"),
    [
        (411, "LC-ERR-0033 : Max Allowed Single Image Size 5 MB.", Refusal.PICTURE, "LC-ERR-0033"),
        (411, "LC-ERR-0034 : Only jpeg and png type images allowed.", Refusal.PICTURE, "LC-ERR-0034"),
        ("411", "LC-ERR-0034 : Only jpeg and png type images allowed.", Refusal.PICTURE, "LC-ERR-0034"),
        (411, "LC-ERR-0035 : Please contact Leben Care Support Team.", Refusal.OTHER, "LC-ERR-0035"),
        (411, "Insufficient credits", Refusal.CREDITS, ""),
        (411, "Invalid token", Refusal.TOKEN, ""),
        (500, "Token expired", Refusal.TOKEN, ""),
        (411, "Bad credentials", Refusal.CREDENTIALS, ""),
        (411, "No", Refusal.OTHER, ""),
        (411, None, Refusal.OTHER, ""),
        (500, "Error in API", Refusal.FAULT, ""),
        (500, ["odd"], Refusal.FAULT, ""),
    ],
)
def test_a_no_is_sorted_by_code_and_words(status: object, message: object, why: Refusal, code: str) -> None:
    with pytest.raises(Refused) as refused:
        read_upload(reply(status=status, message=message, jobId="J"))

    assert (refused.value.why, refused.value.code) == (why, code)


@pytest.mark.parametrize("status", [None, 201, 0, True, 200.0, "", [200]])
def test_an_outcome_that_we_do_not_know_is_no_success(status: object) -> None:
    with pytest.raises(AnswerNotUnderstood):
        read_upload(reply(status=status, jobId="J"))


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":200,"status":500,"jobId":"J"}',
        b'{"status":411,"status":500,"jobId":"J"}',
        b'{"status":200,"status":200.0,"jobId":"J"}',
    ],
)
def test_two_outcomes_are_none(body: bytes) -> None:
    with pytest.raises(AnswerNotUnderstood):
        read_upload(read_reply(body))


@pytest.mark.parametrize("job_id", [None, "", 7, "a\nb", "x" * 201])
def test_an_upload_reply_without_a_job_is_not_understood(job_id: object) -> None:
    with pytest.raises(AnswerNotUnderstood, match="jobId"):
        read_upload(reply(status=200, jobId=job_id))


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ('{"status":200,"jobId":"J","statusJob":"QUEUED"}', "QUEUED"),
        ('{"status":200,"jobId":"J","status":"COMPLETED"}', "COMPLETED"),  # sample (b): the key is there twice
        ('{"jobId":"J","status":"COMPLETED"}', "COMPLETED"),
        ('{"status":"200","jobid":"J","jobStatus":"hold"}', "HOLD"),
        ('{"status":"200","statusJob":"ERROR","jobStatus":"Error","status":"ERROR"}', "ERROR"),
        ('{"status":200,"statusJob":"THINKING"}', "THINKING"),
    ],
)
def test_the_two_meanings_of_status_are_told_apart(body: str, state: str) -> None:
    assert read_status(read_reply(body.encode()), "J") == state


@pytest.mark.parametrize(
    "body",
    [
        '{"status":200,"jobId":"J"}',
        '{"status":200,"jobId":"J","statusJob":7}',
        '{"status":200,"jobId":"J","statusJob":"QUEUED","jobStatus":"COMPLETED"}',
        '{"status":"QUEUED","jobId":"J","statusJob":"COMPLETED"}',
        '{"status":200,"jobId":"another","statusJob":"COMPLETED"}',
        '{"status":200,"jobId":"J","jobid":"another","statusJob":"COMPLETED"}',
    ],
)
def test_a_state_in_doubt_or_of_another_job_is_not_understood(body: str) -> None:
    with pytest.raises(AnswerNotUnderstood):
        read_status(read_reply(body.encode()), "J")


def test_a_result_reply_is_read() -> None:
    # Source: sample output (a) of "Get Result", Netra API 1.0, but for the job and the result.
    read = read_result(
        reply(status=200, jobId="J", usedOn="1516820982075236", usedBy="u", statusJob="COMPLETED", result=RESULT), "J"
    )

    assert read is not None
    assert isinstance(read.analysis, Graded)
    assert read.used_on == datetime(2018, 1, 24, 19, 9, 42, 75236, UTC)


@pytest.mark.parametrize("status", [200, 411, 500])
def test_a_job_that_ended_in_error_says_its_code(status: int) -> None:
    # Source: sample output (b) of "Get Result", Netra API 1.0.
    fields = {"jobId": "J", "statusJob": "ERROR", "message": "LC-ERR-0035 : Please contact Leben Care Support Team."}

    read = read_result(reply(status=status, **fields), "J")

    assert read is not None
    assert read.analysis == AnalysisFailed("LC-ERR-0035")


@pytest.mark.parametrize("state", ["QUEUED", "HOLD", "THINKING"])
def test_a_job_that_has_not_ended_has_no_result(state: str) -> None:
    assert read_result(reply(status=200, jobId="J", statusJob=state), "J") is None


@pytest.mark.parametrize("state", ["COMPLETED", "ERROR"])
def test_the_result_of_another_job_is_not_understood(state: str) -> None:
    with pytest.raises(AnswerNotUnderstood, match="another job"):
        read_result(reply(status=200, jobId="another", statusJob=state, result=RESULT), "J")


@pytest.mark.parametrize("fields", [{}, {"result": None}, {"result": ""}, {"result": "null"}])
def test_a_job_that_ended_without_a_result_is_not_understood(fields: dict[str, object]) -> None:
    with pytest.raises(AnswerNotUnderstood, match="result"):
        read_result(reply(status=200, jobId="J", statusJob="COMPLETED", **fields), "J")


def test_two_results_are_not_understood() -> None:
    body = f'{{"status":200,"statusJob":"COMPLETED","result":{json.dumps(RESULT)},"result":"{{}}"}}'

    with pytest.raises(AnswerNotUnderstood, match="result"):
        read_result(read_reply(body.encode()), "J")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b"{}{}", b'{"a":NaN}', b"\xff", b"{'status': 200}"])
def test_what_is_no_json_object_is_no_reply(body: bytes) -> None:
    with pytest.raises(AnswerNotUnderstood, match="reply"):
        read_reply(body)


def test_a_byte_order_mark_is_no_part_of_a_reply() -> None:
    assert read_reply(b'\xef\xbb\xbf{"status":200}') == Members((("status", 200),))


@pytest.mark.parametrize(("said", "is_standin"), [(True, True), (False, False), ("true", False), (None, False)])
def test_a_standin_says_so_with_true_alone(said: object, is_standin: bool) -> None:
    assert says_standin(reply(standin=said)) is is_standin


@given(st.datetimes(datetime(2016, 1, 1), datetime(2099, 1, 1)), st.sampled_from([1, 1000, 1_000_000]), st.booleans())
def test_a_time_is_read_in_seconds_milliseconds_or_microseconds(when: datetime, per_second: int, is_text: bool) -> None:
    number = int(when.replace(tzinfo=UTC).timestamp()) * per_second

    assert moment(str(number) if is_text else number) == when.replace(tzinfo=UTC, microsecond=0)


@pytest.mark.parametrize(
    "said", [None, "", "soon", 0, -1, 10, 10**10, 10**18, True, 1.5, "１５１７６１３２７４", "9" * 30]
)
def test_what_cannot_be_a_time_of_ours_is_none(said: Any) -> None:  # Any: JSON
    assert moment(said) is None
