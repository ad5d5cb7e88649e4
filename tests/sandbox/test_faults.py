"""Each fault fires and has its documented effect."""

import json
import time
from typing import Any

import httpx
import pytest

from tests.sandbox.process import FAL, FLUX, KLING, PIXEL, REPLICATE, Sandbox

SEEDANCE = "bytedance/seedance-1-pro"


def create(sandbox: Sandbox, provider: str) -> httpx.Response:
    return (
        sandbox.submit(prompt="a") if provider == "fal" else sandbox.predict(input={"prompt": "a"})
    )


def image_url(sandbox: Sandbox) -> str:
    return sandbox.fal_result(sandbox.submit(prompt="a")).json()["images"][0]["url"]


@pytest.mark.parametrize("provider", ["fal", "replicate"])
@pytest.mark.parametrize(
    ("fault", "params", "accepted"),
    [
        ("drop_after_accept", {}, 1),
        ("drop_after_accept", {"how": "reset"}, 1),
        ("drop_before_accept", {}, 0),
        ("drop_before_accept", {"how": "reset"}, 0),
        ("hang", {"seconds": 0.2}, 0),
    ],
)
def test_dropped_connection_has_no_response(
    sandbox: Sandbox, provider: str, fault: str, params: dict[str, Any], accepted: int
) -> None:
    fault_id = sandbox.fault(fault, provider=provider, params=params)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        create(sandbox, provider)
    assert sandbox.fired(fault_id) == 1
    assert len(sandbox.bill()["lines"]) == accepted
    assert sandbox.client.get("/__control/requests").json()["by_provider"] == {provider: 1}
    assert create(sandbox, provider).status_code in {200, 201}, "once only"
    sandbox.wait_until(
        lambda: all(line["state"] == "succeeded" for line in sandbox.bill()["lines"])
    )


def test_dropped_connection_over_tls_has_no_response(tls_sandbox: Sandbox) -> None:
    tls_sandbox.reset()
    tls_sandbox.fault("drop_after_accept")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        tls_sandbox.submit(prompt="a")
    assert len(tls_sandbox.bill()["lines"]) == 1


@pytest.mark.parametrize("provider", ["fal", "replicate"])
def test_answer_502_after_accept_is_a_proxy_page(sandbox: Sandbox, provider: str) -> None:
    fault_id = sandbox.fault("answer_502_after_accept")
    answer = create(sandbox, provider)
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert (len(sandbox.bill()["lines"]), sandbox.fired(fault_id)) == (1, 1)


def test_answer_late_accepts_at_once_and_responds_late(sandbox: Sandbox) -> None:
    fault_id = sandbox.fault("answer_late", params={"seconds": 1})
    with pytest.raises(httpx.ReadTimeout):
        sandbox.client.post(f"/fal/queue/{FLUX}", json={"prompt": "a"}, headers=FAL, timeout=0.3)
    assert (len(sandbox.bill()["lines"]), sandbox.fired(fault_id)) == (1, 1)
    sandbox.fault("answer_late", params={"seconds": 0.3})
    started = time.monotonic()
    assert sandbox.submit(prompt="a").status_code == 200
    assert time.monotonic() - started > 0.25


@pytest.mark.parametrize(
    "retry_after",
    [None, "7", "0", "1.5", "Wed, 21 Oct 2037 07:28:00 GMT", "soon", "-1", "1000000000"],
)
def test_refuse_429_has_the_vendors_body_and_retry_after(
    sandbox: Sandbox, retry_after: str | None
) -> None:
    fault_id = sandbox.fault(
        "refuse_429", times=2, params={"retry_after": retry_after} if retry_after else {}
    )
    fal, replicate = create(sandbox, "fal"), create(sandbox, "replicate")
    assert [fal.status_code, replicate.status_code] == [429, 429]
    assert [answer.headers.get("retry-after") for answer in (fal, replicate)] == [
        retry_after,
        retry_after,
    ]
    assert fal.headers["x-fal-needs-retry"] == "1"
    assert replicate.json()["detail"].startswith("Request was throttled.")
    assert (sandbox.bill()["lines"], sandbox.fired(fault_id)) == ([], 2)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 415, 422])
def test_refuse_has_the_vendors_format(sandbox: Sandbox, status: int) -> None:
    sandbox.fault("refuse", times=-1, params={"status": status})
    fal, replicate = create(sandbox, "fal"), create(sandbox, "replicate")
    assert [fal.status_code, replicate.status_code] == [status, status]
    assert "detail" in fal.json()
    assert replicate.headers["content-type"] == "application/problem+json"
    assert replicate.json()["status"] == status
    assert sandbox.bill()["lines"] == []


def test_error_5xx_before_accept_accepts_nothing(sandbox: Sandbox) -> None:
    sandbox.fault("error_5xx_before_accept", provider="fal", params={"status": 504})
    sandbox.fault("error_5xx_before_accept", provider="replicate")
    assert create(sandbox, "fal").status_code == 504
    assert create(sandbox, "replicate").status_code == 503
    assert sandbox.bill()["lines"] == []


@pytest.mark.parametrize("provider", ["fal", "replicate"])
def test_malformed_html_and_huge_responses_follow_the_accept(
    sandbox: Sandbox, provider: str
) -> None:
    sandbox.fault("malformed_json")
    with pytest.raises(json.JSONDecodeError):
        create(sandbox, provider).json()
    sandbox.fault("html_answer")
    html = create(sandbox, provider)
    assert (html.status_code, html.text[:6]) == (200, "<html>")
    sandbox.fault("huge_body", params={"bytes": 3_000_000})
    assert len(create(sandbox, provider).content) > 2_900_000
    assert len(sandbox.bill()["lines"]) == 3


def test_faults_on_other_operations_do_not_affect_the_job(sandbox: Sandbox) -> None:
    submitted = sandbox.submit(prompt="a")
    addresses = submitted.json()
    sandbox.fault("refuse_429", operation="status")
    assert sandbox.fal_get(addresses["status_url"]).status_code == 429
    sandbox.fault("answer_502_after_accept", operation="result")
    sandbox.wait_until(lambda: sandbox.fal_get(addresses["status_url"]).status_code == 200)
    assert sandbox.fal_get(addresses["response_url"]).status_code == 502
    assert sandbox.fal_get(addresses["response_url"]).status_code == 200
    sandbox.fault("drop_before_accept", operation="cancel")
    with pytest.raises(httpx.TransportError):
        sandbox.client.put(addresses["cancel_url"], headers=FAL)
    sandbox.fault("error_5xx_before_accept", operation="list", times=2)
    history = f"/fal/api/v1/models/requests/by-endpoint?endpoint_id={FLUX}"
    assert sandbox.fal_get(history).status_code == 503
    assert sandbox.client.get("/replicate/v1/predictions", headers=REPLICATE).status_code == 503


def test_keys_can_be_unreachable(sandbox: Sandbox) -> None:
    sandbox.fault("error_5xx_before_accept", operation="keys", times=2)
    assert sandbox.client.get("/fal/.well-known/jwks.json").status_code == 503
    secret = "/replicate/v1/webhooks/default/secret"
    assert sandbox.client.get(secret, headers=REPLICATE).status_code == 503
    assert sandbox.client.get(secret, headers=REPLICATE).json()["key"].startswith("whsec_")


def test_fault_fits_only_its_provider_and_model(sandbox: Sandbox) -> None:
    fault_id = sandbox.fault("refuse", provider="fal", model=KLING, params={"status": 402})
    assert create(sandbox, "fal").status_code == 200
    assert create(sandbox, "replicate").status_code == 201
    assert sandbox.fired(fault_id) == 0
    assert sandbox.submit(KLING, prompt="a", image_url=PIXEL).status_code == 402
    assert sandbox.fired(fault_id) == 1


def test_stuck_never_ends_until_cancelled(sandbox: Sandbox) -> None:
    sandbox.fault("stuck", times=2)
    fal, replicate = create(sandbox, "fal").json(), create(sandbox, "replicate").json()
    time.sleep(0.8)  # four times the latency
    assert sandbox.fal_get(fal["status_url"]).json()["status"] == "IN_PROGRESS"
    assert sandbox.prediction(replicate["id"])["status"] == "processing"
    assert sandbox.client.put(fal["cancel_url"], headers=FAL).status_code == 202
    assert (
        sandbox.client.post(replicate["urls"]["cancel"], headers=REPLICATE).json()["status"]
        == "canceled"
    )
    assert sandbox.bill()["total_nano_usd"] == 3_000_000  # the Replicate one ran


def test_fail_after_ends_with_the_requested_error(sandbox: Sandbox) -> None:
    params = {
        "seconds": 0.1,
        "status": 504,
        "type": "generation_timeout",
        "message": "took too long",
    }
    sandbox.fault("fail_after", times=2, params=params)
    fal = sandbox.fal_result(create(sandbox, "fal"))
    assert (fal.status_code, fal.headers["x-fal-retryable"]) == (504, "true")
    assert fal.json()["detail"][0]["type"] == "generation_timeout"
    replicate = sandbox.predicted(create(sandbox, "replicate"))
    assert (replicate["status"], replicate["error"]) == ("failed", "took too long")
    sandbox.fault(
        "fail_after",
        params={"status": 503, "type": "runner_disconnected", "message": "Runner disconnected"},
    )
    runner = sandbox.fal_result(create(sandbox, "fal"))
    assert (runner.status_code, runner.json()["error_type"]) == (503, "runner_disconnected")
    assert [line["billed"] for line in sandbox.bill()["lines"]] == [False, False, False]


def test_moderated_is_reported_in_the_format_of_each_model(sandbox: Sandbox) -> None:
    sandbox.set(tiny_media=False)
    fault_id = sandbox.fault("moderated", times=3)
    picture = sandbox.fal_result(create(sandbox, "fal"))
    assert (picture.status_code, picture.json()["has_nsfw_concepts"]) == (200, [True])
    video = sandbox.fal_result(sandbox.submit(KLING, prompt="a", image_url=PIXEL))
    assert (video.status_code, video.json()["detail"][0]["type"]) == (
        422,
        "content_policy_violation",
    )
    replicate = sandbox.predicted(create(sandbox, "replicate"))
    assert replicate["status"] == "failed"
    assert "flagged as sensitive" in replicate["error"]
    assert [line["billed"] for line in sandbox.bill()["lines"]] == [True, False, False]
    assert sandbox.fired(fault_id) == 3


def test_empty_output_succeeds_without_output(sandbox: Sandbox) -> None:
    sandbox.fault("empty_output", times=-1)
    assert sandbox.fal_result(create(sandbox, "fal")).json()["images"] == []
    assert sandbox.fal_result(sandbox.submit(KLING, prompt="a", image_url=PIXEL)).json() == {
        "video": None
    }
    assert sandbox.predicted(create(sandbox, "replicate"))["output"] == []
    assert sandbox.predicted(sandbox.predict(SEEDANCE, input={"prompt": "a"}))["output"] is None


@pytest.mark.parametrize(
    ("form", "start"),
    [
        ("html", b"<html>"),
        ("magic", b"%PDF"),
        ("other_kind", b"fLaC"),
        ("truncated", b"\xff\xd8"),
        ("empty", b""),
    ],
)
def test_wrong_bytes_have_the_right_content_type(sandbox: Sandbox, form: str, start: bytes) -> None:
    url = image_url(sandbox)
    right = sandbox.client.get(url).content
    fault_id = sandbox.fault("wrong_bytes", params={"form": form})
    assert sandbox.client.head(url).headers["content-length"] == str(len(right))
    answer = sandbox.client.get(url)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content[: len(start)] == start
    assert answer.content != right
    assert sandbox.fired(fault_id) == 1
    assert sandbox.client.get(url).content == right


def test_file_encoding_changes_the_header_alone(sandbox: Sandbox) -> None:
    url = image_url(sandbox)
    right = sandbox.client.get(url).content
    fault_id = sandbox.fault("file_encoding", params={"value": "aws-chunked"})
    answer = sandbox.client.get(url)
    assert answer.headers["content-encoding"] == "aws-chunked"
    assert answer.content == right
    assert sandbox.fired(fault_id) == 1


def test_cut_file_ends_before_its_announced_length(sandbox: Sandbox) -> None:
    url = image_url(sandbox)
    sandbox.fault("wrong_bytes", params={"form": "cut"})
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.client.get(url)


def test_expired_file_is_permanently_gone(sandbox: Sandbox) -> None:
    url = image_url(sandbox)
    fault_id = sandbox.fault("expired_file", params={"status": 410})
    assert [sandbox.client.get(url).status_code for _ in range(2)] == [410, 410]
    assert sandbox.fired(fault_id) == 1


def test_slow_and_huge_files_stream(sandbox: Sandbox) -> None:
    url = image_url(sandbox)
    right = sandbox.client.get(url).content
    sandbox.fault("slow_file", params={"chunk_bytes": len(right) // 3, "seconds_per_chunk": 0.15})
    started = time.monotonic()
    assert sandbox.client.get(url).content == right
    assert time.monotonic() - started > 0.4
    sandbox.fault("huge_body", operation="file", params={"bytes": 5_000_000})
    assert len(sandbox.client.get(url).content) == 5_000_000


def test_unknown_status_is_outside_the_vendors_api(sandbox: Sandbox) -> None:
    fault_id = sandbox.fault("unknown_status", times=2)
    fal, replicate = create(sandbox, "fal").json(), create(sandbox, "replicate").json()
    assert sandbox.fal_get(fal["status_url"]).json()["status"] == "PAUSED"
    assert sandbox.prediction(replicate["id"])["status"] == "queued_for_review"
    assert sandbox.fired(fault_id) == 2


def test_cancel_loses_and_the_job_completes_and_is_billed(sandbox: Sandbox) -> None:
    sandbox.set(image_seconds=1.0)
    sandbox.fault("cancel_loses", times=2)
    fal, replicate = create(sandbox, "fal"), create(sandbox, "replicate")
    answer = sandbox.client.put(fal.json()["cancel_url"], headers=FAL)
    assert (answer.status_code, answer.json()["status"]) == (202, "CANCELLATION_REQUESTED")
    sandbox.client.post(replicate.json()["urls"]["cancel"], headers=REPLICATE)
    assert sandbox.fal_result(fal).status_code == 200
    assert sandbox.predicted(replicate)["status"] == "succeeded"
    assert [line["billed"] for line in sandbox.bill()["lines"]] == [True, True]


@pytest.mark.parametrize(
    "order",
    [
        {"fault": "no such thing"},
        {"fault": "hang", "operation": "sleep"},
        {"fault": "hang", "provider": "aws"},
        {"fault": "hang", "times": "often"},
        {"fault": "hang", "params": 3},
        {"fault": "hang", "colour": "red"},
        [],
    ],
)
def test_invalid_faults_are_rejected_with_a_reason(sandbox: Sandbox, order: Any) -> None:
    answer = sandbox.client.post("/__control/faults", json=order)
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert sandbox.client.get("/__control/faults").json() == {"faults": []}


def test_faults_are_removed_individually_or_all(sandbox: Sandbox) -> None:
    one, two = sandbox.fault("refuse"), sandbox.fault("refuse", params={"status": 403})
    assert sandbox.client.delete(f"/__control/faults/{one}").status_code == 204
    assert sandbox.client.delete(f"/__control/faults/{one}").status_code == 404
    assert [item["id"] for item in sandbox.client.get("/__control/faults").json()["faults"]] == [
        two
    ]
    assert sandbox.client.delete("/__control/faults").status_code == 204
    assert create(sandbox, "fal").status_code == 200


@pytest.mark.parametrize(
    "wrong", [{"nonsense": 1}, {"image_seconds": "1"}, {"callbacks": 1}, {"video_seconds": -1}]
)
def test_invalid_settings_are_rejected_and_change_nothing(
    sandbox: Sandbox, wrong: dict[str, Any]
) -> None:
    before = sandbox.client.get("/__control/settings").json()
    assert (
        sandbox.client.put("/__control/settings", json=wrong | {"queue_seconds": 9}).status_code
        == 422
    )
    assert sandbox.client.get("/__control/settings").json() == before
