"""The wire format of fal's API."""

from typing import Any

import pytest

from tests.sandbox.process import FAL, FLUX, KLING, PIXEL, SEEDANCE, Sandbox


def test_submit_returns_addresses_of_owner_and_app_only(sandbox: Sandbox) -> None:
    body = sandbox.submit(prompt="a").json()
    start = f"{sandbox.url}/fal/queue/fal-ai/flux/requests/{body['request_id']}"
    assert body["status"] == "IN_QUEUE"
    assert body["queue_position"] == 0
    assert (body["response_url"], body["status_url"], body["cancel_url"]) == (
        start,
        f"{start}/status",
        f"{start}/cancel",
    )


def test_status_is_202_until_completed_and_always_has_its_keys(sandbox: Sandbox) -> None:
    sandbox.set(queue_seconds=0.3, image_seconds=1.0)
    body = sandbox.submit(prompt="a").json()
    seen: dict[str, tuple[int, dict[str, Any]]] = {}

    def completed() -> bool:
        answer = sandbox.fal_get(body["status_url"] + "?logs=1")
        seen[answer.json()["status"]] = (answer.status_code, answer.json())
        return answer.status_code == 200

    early = sandbox.fal_get(body["response_url"])
    sandbox.wait_until(completed)
    assert {status: code for status, (code, _) in seen.items()} == {
        "IN_QUEUE": 202,
        "IN_PROGRESS": 202,
        "COMPLETED": 200,
    }
    assert "queue_position" in seen["IN_QUEUE"][1]
    assert seen["IN_PROGRESS"][1]["logs"][0]["source"] == "USER"
    assert seen["COMPLETED"][1]["metrics"]["inference_time"] > 0.5
    assert "error" not in seen["COMPLETED"][1]
    assert (early.status_code, early.headers["x-fal-error-type"]) == (400, "bad_request")
    without_logs = sandbox.fal_get(body["status_url"]).json()
    assert without_logs["logs"] is None


def test_status_stream_ends_with_completed(sandbox: Sandbox) -> None:
    body = sandbox.submit(prompt="a").json()
    events = sandbox.fal_get(body["status_url"] + "/stream?logs=1").text.strip().split("\n\n")
    assert '"IN_QUEUE"' in events[0]
    assert '"COMPLETED"' in events[-1]


@pytest.mark.parametrize(
    ("model", "order", "units", "nano_usd"),
    [
        (FLUX, {}, 1, 3_000_000),
        (FLUX, {"image_size": {"width": 1500, "height": 1000}, "num_images": 2}, 4, 12_000_000),
        (
            SEEDANCE,
            {"image_url": PIXEL, "resolution": "720p", "aspect_ratio": "16:9"},
            108_000,
            270_000_000,
        ),
        (SEEDANCE, {"image_url": PIXEL, "resolution": "480p", "duration": "2"}, 10_800, 27_000_000),
        (KLING, {"image_url": PIXEL}, 5, 350_000_000),
        (KLING, {"image_url": PIXEL, "duration": "10"}, 10, 700_000_000),
    ],
)
def test_result_reports_the_units_that_the_bill_charges(
    sandbox: Sandbox, model: str, order: dict[str, Any], units: int, nano_usd: int
) -> None:
    result = sandbox.fal_result(sandbox.submit(model, prompt="a", **order))
    assert result.status_code == 200
    assert result.headers["x-fal-billable-units"] == str(units)
    (line,) = sandbox.bill()["lines"]
    assert (line["state"], line["billed"], line["billed_nano_usd"]) == ("succeeded", True, nano_usd)


def test_results_have_the_fields_of_their_model(sandbox: Sandbox) -> None:
    image = sandbox.fal_result(sandbox.submit(prompt="a", seed=9, output_format="png")).json()
    assert set(image) == {"images", "timings", "seed", "has_nsfw_concepts", "prompt"}
    assert set(image["images"][0]) == {"url", "width", "height", "content_type"}
    url = image["images"][0]["url"]
    seedance = sandbox.fal_result(
        sandbox.submit(SEEDANCE, prompt="a", image_url=url, seed=5)
    ).json()
    assert seedance["seed"] == 5
    assert set(seedance["video"]) == {"url", "content_type", "file_name", "file_size"}
    assert set(sandbox.fal_result(sandbox.submit(KLING, prompt="a", image_url=url)).json()) == {
        "video"
    }


@pytest.mark.parametrize(
    ("order", "field", "kind"),
    [
        ({"image_url": PIXEL}, "prompt", "missing"),
        ({"prompt": "a"}, "image_url", "missing"),
        ({"prompt": "a", "image_url": PIXEL, "duration": 5}, "duration", "literal_error"),
        ({"prompt": "a", "image_url": PIXEL, "duration": "13"}, "duration", "literal_error"),
        ({"prompt": "a", "image_url": PIXEL, "resolution": "4k"}, "resolution", "literal_error"),
        ({"prompt": 7, "image_url": PIXEL}, "prompt", "string_type"),
        ({"prompt": "a", "image_url": PIXEL, "seed": "7"}, "seed", "int_type"),
    ],
)
def test_invalid_input_is_accepted_then_rejected_by_the_model(
    sandbox: Sandbox, order: dict[str, Any], field: str, kind: str
) -> None:
    submitted = sandbox.submit(SEEDANCE, **order)
    result = sandbox.fal_result(submitted)
    assert result.status_code == 422
    assert result.headers["x-fal-retryable"] == "false"
    (detail,) = result.json()["detail"]
    assert (detail["loc"], detail["type"]) == (["body", field], kind)
    status = sandbox.fal_get(submitted.json()["status_url"]).json()
    assert (status["status"], status["error"]) == ("COMPLETED", "Invalid status code: 422")
    assert sandbox.bill()["total_nano_usd"] == 0
    sandbox.set(fal_validates_at_submit=True)
    assert sandbox.submit(SEEDANCE, **order).status_code == 422


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:1/nothing.png", "file_download_error"),
        ("file:///etc/hostname", "file_download_error"),
        ("data:image/png;base64,AAAA", "image_load_error"),
        ("data:image/png;base64,*", "image_load_error"),
    ],
)
def test_unusable_picture_is_a_model_error(sandbox: Sandbox, url: str, kind: str) -> None:
    result = sandbox.fal_result(sandbox.submit(KLING, prompt="a", image_url=url))
    assert (result.status_code, result.json()["detail"][0]["type"]) == (422, kind)
    assert sandbox.bill()["total_nano_usd"] == 0


def test_unknown_model_request_and_key_are_rejected_in_fals_format(sandbox: Sandbox) -> None:
    assert sandbox.submit("fal-ai/nothing", prompt="a").status_code == 404
    missing = sandbox.fal_get("/fal/queue/fal-ai/flux/requests/no-such-id/status")
    assert (missing.status_code, missing.json()) == (404, {"status": "NOT_FOUND"})
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Key"}):
        refused = sandbox.client.post(f"/fal/queue/{FLUX}", json={"prompt": "a"}, headers=headers)
        assert refused.status_code == 401
        assert isinstance(refused.json()["detail"], str)
    broken = sandbox.client.post(f"/fal/queue/{FLUX}", content=b"{", headers=FAL)
    assert broken.status_code == 422
    assert sandbox.bill()["lines"] == []


def test_cancel_reports_ok_requested_too_late_and_not_found(sandbox: Sandbox) -> None:
    sandbox.set(queue_seconds=30, image_seconds=60)
    queued = sandbox.submit(prompt="a").json()
    sandbox.set(queue_seconds=0)
    running = sandbox.submit(prompt="b").json()
    sandbox.wait_until(
        lambda: sandbox.fal_get(running["status_url"]).json()["status"] == "IN_PROGRESS"
    )
    answers = [
        sandbox.client.put(job["cancel_url"], headers=FAL) for job in (queued, running, queued)
    ]
    answers.append(sandbox.client.put("/fal/queue/fal-ai/flux/requests/none/cancel", headers=FAL))
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [
        (200, "OK"), (202, "CANCELLATION_REQUESTED"), (400, "ALREADY_COMPLETED"), (404, "NOT_FOUND"),
    ]  # fmt: skip
    result = sandbox.fal_get(queued["response_url"])
    assert (result.status_code, result.json()["error_type"]) == (499, "client_cancelled")
    assert [line["state"] for line in sandbox.bill()["lines"]] == ["canceled", "canceled"]
    assert sandbox.bill()["total_nano_usd"] == 0


def test_start_deadline_and_queue_length_are_honoured(sandbox: Sandbox) -> None:
    sandbox.set(queue_seconds=20, image_seconds=60)
    submitted = sandbox.submit(prompt="a", headers={"X-Fal-Request-Timeout": "0.1"})
    result = sandbox.fal_result(submitted)
    assert (result.status_code, result.headers["x-fal-error-type"]) == (504, "request_timeout")
    for _ in range(2):
        assert sandbox.submit(prompt="waits").status_code == 200
    full = sandbox.client.post(
        f"/fal/queue/{FLUX}?fal_max_queue_length=1", json={"prompt": "a"}, headers=FAL
    )
    assert (full.status_code, full.headers["x-fal-needs-retry"]) == (429, "1")


def test_history_finds_by_endpoint_time_and_id_with_payloads(sandbox: Sandbox) -> None:
    done = [sandbox.submit(prompt=f"number {n}", seed=n) for n in range(3)]
    for submitted in done:
        sandbox.fal_result(submitted)

    def history(**query: Any) -> dict[str, Any]:
        path = "/fal/api/v1/models/requests/by-endpoint"
        answer = sandbox.client.get(path, params={"endpoint_id": FLUX} | query, headers=FAL)
        assert answer.status_code == 200, answer.text
        return answer.json()

    items = history(expand="payloads")["items"]
    assert {item["json_input"]["seed"] for item in items} == {0, 1, 2}
    assert items[0]["json_output"]["images"]
    assert items[0]["status_code"] == 200
    assert "json_input" not in history()["items"][0]
    one = history(request_id=done[1].json()["request_id"])["items"]
    assert [item["request_id"] for item in one] == [done[1].json()["request_id"]]
    page = history(limit=2)
    assert (len(page["items"]), page["has_more"]) == (2, True)
    assert len(history(limit=2, cursor=page["next_cursor"])["items"]) == 1
    assert history(start="2000-01-01T00:00:00Z", end="2000-01-02T00:00:00Z")["items"] == []
    assert history(endpoint_id=SEEDANCE)["items"] == []
    sandbox.set(history_lag_seconds=60)
    assert history()["items"] == []
    sandbox.set(history_lag_seconds=0, history_hidden=True)
    assert history()["items"] == []
    sandbox.set(history_hidden=False, image_seconds=30)
    running = sandbox.submit(prompt="running").json()["request_id"]
    assert running not in {item["request_id"] for item in history()["items"]}
    sandbox.set(history_hides_running=False)
    assert running in {item["request_id"] for item in history()["items"]}


def test_prices_and_files_are_served(sandbox: Sandbox) -> None:
    prices = sandbox.fal_get(f"/fal/api/v1/models/pricing?endpoint_id={FLUX}").json()["prices"]
    assert prices == [
        {"endpoint_id": FLUX, "unit_price": 0.003, "unit": "megapixels", "currency": "USD"}
    ]
    url = sandbox.fal_result(sandbox.submit(prompt="a")).json()["images"][0]["url"]
    assert url.startswith(f"{sandbox.url}/files/")
    whole = sandbox.client.get(url)  # without a key
    head = sandbox.client.head(url)
    part = sandbox.client.get(url, headers={"Range": "bytes=2-5"})
    assert head.headers["content-length"] == str(len(whole.content))
    assert (part.status_code, part.content) == (206, whole.content[2:6])


def test_files_expire_by_setting_and_by_header(sandbox: Sandbox) -> None:
    asked = {"X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": 0.2}'}
    for headers, life in ((asked, None), ({}, 0.2)):
        sandbox.set(result_life_seconds=life)
        url = sandbox.fal_result(sandbox.submit(prompt="a", headers=headers)).json()["images"][0][
            "url"
        ]
        sandbox.wait_until(lambda url=url: sandbox.client.get(url).status_code == 404)
