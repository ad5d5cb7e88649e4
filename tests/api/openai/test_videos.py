"""POST and GET /v1/videos: what an order means, and how answers and refusals read."""

from typing import Any

import httpx
import pytest

from api.http.problems import openai_errors
from core.domain.failures import FailureCode
from tests.api.conftest import TestUser

PROMPT = "a red kite over a grey harbour"
DEFAULT = "bytedance/seedance-1-pro"


async def create(user: TestUser, form: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    if form is not None:
        parts = {name: (None, text) for name, text in {"prompt": PROMPT, **form}.items()}
        return await user.http.post("/v1/videos", files=parts)
    return await user.http.post("/v1/videos", json={"prompt": PROMPT, **body})


async def test_form_and_json_order_the_documented_defaults(api_once: TestUser) -> None:
    for answer in (await create(api_once), await create(api_once, form={})):
        assert answer.status_code == 200, answer.text
        assert int(answer.headers["openai-poll-after-ms"]) == 3000, "a twentieth of a minute"
        video = answer.json()
        result = await api_once.http.get(f"/v1/videos/{video['id']}")
        assert result.json() == video
        shown = {name: video[name] for name in ("object", "status", "seconds", "size", "model")}
        assert shown == {
            "object": "video",
            "status": "queued",
            "seconds": "4",
            "size": "720x1280",
            "model": DEFAULT,
        }
        execution = (await api_once.http.get(f"/api/executions/{video['id']}")).json()
        assert execution["cost"] == video["cost"]


@pytest.mark.parametrize(
    ("model", "seconds", "size"),
    [
        ("fal-ai/kling-video/v2.5-turbo/pro/text-to-video", "5", None),
        ("fal-ai/minimax/hailuo-2.3/standard/image-to-video", "6", None),
        ("fal-ai/veo3.1/lite", "4", "720x1280"),
        ("wan-video/wan-2.2-t2v-fast", None, "720x1280"),
        ("bytedance/seedance-1.5-pro", "4", "480x854"),
    ],
)
async def test_other_models_get_the_nearest_they_have(
    api_once: TestUser, model: str, seconds: str | None, size: str | None
) -> None:
    answer = await create(api_once, model=model)
    assert answer.status_code == 200, answer.text
    video = answer.json()
    assert (video["model"], video["seconds"], video["size"]) == (model, seconds, size)


async def test_resolution_and_shape_may_be_named_instead_of_size(api_once: TestUser) -> None:
    answer = await create(api_once, form={"resolution": "480p", "aspect_ratio": "1:1"})
    assert answer.json()["size"] == "480x480", answer.text
    answer = await create(api_once, resolution="1080p")
    assert answer.json()["size"] == "1080x1920", answer.text


async def test_texts_of_a_form_become_numbers_where_needed(api_once: TestUser) -> None:
    form = {"seed": "7", "seconds": "3", "metadata[orderId]": "7", "max_cost": "1.5"}
    answer = await create(api_once, form=form)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["seconds"], answer.json()["metadata"]) == ("3", {"orderId": "7"})
    assert (await create(api_once, seconds=3)).json()["seconds"] == "3"


async def test_refusals_are_problems_with_the_member_error(api_once: TestUser) -> None:
    answer = await create(api_once, seconds="40", colour="red")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (400, "false")
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (400, "invalid_request")
    assert problem["error"] == {
        "message": problem["detail"],
        "type": "invalid_request_error",
        "param": "colour",
        "code": "unknown_field",
    }
    assert problem["requestId"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"--x\r\nContent-Disposition: form-data; name=prompt\r\n\r\na kite", "body"),
        (b'--x\r\nContent-Disposition: form-data; name="a[b][c]"\r\n\r\n1\r\n--x--\r\n', "a[b][c]"),
        (
            b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n\xff\r\n--x--\r\n',
            "prompt",
        ),
        (b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n1\r\n--x--', "f"),
        (b"--x\r\nContent-Type: text/plain\r\n\r\n1\r\n--x--\r\n", "body"),
        (
            b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'
            + bytes(70_000).replace(b"\0", b"a")
            + b"\r\n--x--\r\n",
            "prompt",
        ),
    ],
)
async def test_broken_forms_are_refused(api_once: TestUser, body: bytes, field: str) -> None:
    answer = await api_once.http.post(
        "/v1/videos", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == field, answer.text


async def test_other_bodies_are_unsupported_media_types(api_once: TestUser) -> None:
    answer = await api_once.http.post("/v1/videos", data={"prompt": PROMPT})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


async def test_a_reference_of_another_shape_is_refused(api_once: TestUser) -> None:
    for reference, param in (
        ("https://example.com/a.png", "input_reference"),
        ({"file_id": "file-1"}, "input_reference.file_id"),
        ({"image_url": "data:image/png,abc"}, "input_reference.image_url"),
        ({"image_url": "data:image/png;base64,a"}, "input_reference.image_url"),
        ({"url": "https://example.com/a.png"}, "input_reference.image_url"),
    ):
        answer = await create(api_once, input_reference=reference)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, param), error
        assert "image_url" in error["message"] or "base64" in error["message"], error
    answer = await create(api_once, form={"input_reference": "https://example.com/a.png"})
    assert answer.json()["error"]["param"] == "input_reference"


async def test_a_file_of_text_is_refused_in_one_sentence(api_once: TestUser) -> None:
    answer = await api_once.http.post(
        "/v1/videos", data={"prompt": PROMPT}, files={"input_reference": ("a.png", b"no picture")}
    )
    expected = "input_reference: Accepted are JPEG, PNG and WebP pictures."
    assert answer.json()["error"]["message"] == expected


@pytest.mark.parametrize(
    ("method", "path", "param"),
    [
        ("POST", "/v1/videos/edits", "edits"),
        ("POST", "/v1/videos/extensions", "extensions"),
        ("POST", "/v1/videos/characters", "characters"),
        ("GET", "/v1/videos/characters/char_1", "characters"),
        ("POST", "/v1/videos/exec_1/remix", "remix"),
    ],
)
async def test_other_operations_of_openai_are_refused(
    api_once: TestUser, method: str, path: str, param: str
) -> None:
    answer = await api_once.http.request(method, path)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, "unsupported")
    assert "POST /v1/videos" in error["message"]


@pytest.mark.parametrize(
    ("code", "seconds", "is_final"),
    [
        (FailureCode.RATE_LIMITED, 5, False),
        (FailureCode.RATE_LIMITED, 61, True),
        (FailureCode.IDEMPOTENCY_IN_PROGRESS, 1, False),
        (FailureCode.SERVICE_UNAVAILABLE, 5, False),
        (FailureCode.PROVIDER_NOT_ACCEPTING, 30, True),
        (FailureCode.BUDGET_EXCEEDED, 0, True),
        (FailureCode.INSUFFICIENT_SCOPE, 0, True),
        (FailureCode.EXECUTION_NOT_FINAL, 0, True),
        (FailureCode.INTERNAL_ERROR, 0, False),
    ],
)
def test_clients_repeat_only_what_can_succeed_soon(
    code: FailureCode, seconds: int, is_final: bool
) -> None:
    headers = openai_errors.retry_headers(code, 500, {"Retry-After": str(seconds)})
    assert headers == ({"x-should-retry": "false"} if is_final else {})


async def test_a_long_wait_is_polled_at_most_every_ten_seconds(api_once: TestUser) -> None:
    answer = await create(api_once, model="fal-ai/minimax/hailuo-2.3/standard/image-to-video")
    assert int(answer.headers["openai-poll-after-ms"]) == 7500
