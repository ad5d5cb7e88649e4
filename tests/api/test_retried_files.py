"""A retry looks at the file of a completed job before it buys the step again."""

from base64 import b64encode
from dataclasses import replace

import pytest

from core.domain.failures import FailureCode
from sandbox.files.renderer import tiny_video
from tests.api.conftest import Api, TestUser
from tests.api.ended import NOT_STORED, end

pytestmark = pytest.mark.guarantee("G2")

EXPIRED, INVALID = FailureCode.OUTPUT_EXPIRED, FailureCode.OUTPUT_INVALID
MP4 = tiny_video(64, 64, 1)


def data_uri(content: bytes) -> str:
    return f"data:video/mp4;base64,{b64encode(content).decode()}"


@pytest.mark.parametrize(
    ("error", "url", "bought"),
    [
        (EXPIRED, data_uri(MP4), False),
        (INVALID, data_uri(MP4), False),
        (INVALID, data_uri(MP4[: len(MP4) // 2]), True),
        (EXPIRED, "data:,gone", True),
        (EXPIRED, "http://127.0.0.1:1/unreachable", False),
        (FailureCode.OUTPUT_TOO_LARGE, data_uri(MP4), True),
    ],
)
async def test_retry_keeps_a_file_that_is_served_now(
    shared_api: Api, api_once: TestUser, error: FailureCode, url: str, bought: bool
) -> None:
    user = await shared_api.new_user()
    ended = await end(shared_api.database, user.user_id, replace(NOT_STORED, url=url), error=error)
    async with user.http:
        answer = await user.http.post(f"/api/executions/{ended.execution_id}/retry")
    assert answer.status_code == 202, answer.text
    assert [item["step"] for item in answer.json()["toPay"]] == (["video"] if bought else [])
