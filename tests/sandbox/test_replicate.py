"""The wire format of Replicate's API."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.sandbox.process import PIXEL, REPLICATE, Sandbox

FLUX = "black-forest-labs/flux-schnell"
SEEDANCE = "bytedance/seedance-1-pro"


def test_created_prediction_has_every_field(sandbox: Sandbox) -> None:
    order = {"prompt": "a red kite", "duration": 5, "resolution": "480p", "seed": 811}
    answer = sandbox.predict(SEEDANCE, input=order)
    body = answer.json()
    assert (answer.status_code, body["status"], body["input"]) == (201, "starting", order)
    assert {
        "id", "model", "version", "input", "logs", "output", "data_removed", "error", "source", "status", "created_at",
        "started_at", "completed_at", "deadline", "metrics", "urls",
    } <= set(body)  # fmt: skip
    assert body["urls"]["get"] == f"{sandbox.url}/replicate/v1/predictions/{body['id']}"
    assert int(answer.headers["ratelimit-remaining"]) < 600
    assert "ratelimit-reset" in answer.headers


def test_prediction_goes_through_its_statuses(sandbox: Sandbox) -> None:
    sandbox.set(queue_seconds=0.5, video_seconds=1.2)
    created = sandbox.predict(SEEDANCE, input={"prompt": "a", "resolution": "480p"})
    seen: list[str] = []

    def succeeded() -> bool:
        status = sandbox.prediction(created.json()["id"])["status"]
        if status not in seen:
            seen.append(status)
        return status == "succeeded"

    sandbox.wait_until(succeeded)
    assert seen == ["starting", "processing", "succeeded"]
    done = sandbox.prediction(created.json()["id"])
    assert isinstance(done["output"], str)
    assert done["metrics"]["video_output_duration_seconds"] == 5
    assert done["metrics"]["predict_time"] < done["metrics"]["total_time"]


@pytest.mark.parametrize(
    ("model", "order", "nano_usd"),
    [
        (FLUX, {"num_outputs": 3}, 9_000_000),
        (SEEDANCE, {"resolution": "480p", "duration": 4}, 120_000_000),
        (SEEDANCE, {"resolution": "720p", "image": PIXEL}, 300_000_000),
        (SEEDANCE, {}, 750_000_000),
    ],
)
def test_success_is_billed_at_the_list_price(
    sandbox: Sandbox, model: str, order: dict[str, Any], nano_usd: int
) -> None:
    done = sandbox.predicted(sandbox.predict(model, input={"prompt": "a"} | order))
    assert done["status"] == "succeeded", done["error"]
    assert sandbox.bill()["total_nano_usd"] == nano_usd


def test_prefer_wait_returns_201_when_done_else_202(sandbox: Sandbox) -> None:
    done = sandbox.predict(input={"prompt": "a"}, headers={"Prefer": "wait"})
    assert (done.status_code, done.json()["status"]) == (201, "succeeded")
    assert done.headers["preference-applied"] == "wait=60"
    sandbox.set(image_seconds=3)
    late = sandbox.predict(input={"prompt": "a"}, headers={"Prefer": "wait=1"})
    assert (late.status_code, late.json()["status"], late.json()["output"]) == (
        202,
        "starting",
        None,
    )


@pytest.mark.parametrize(
    ("order", "fields"),
    [
        ({}, {("required", "input")}),
        ({"prompt": "a", "duration": "5"}, {("invalid_type", "input.duration")}),
        ({"prompt": "a", "duration": 13}, {("number_lte", "input.duration")}),
        ({"prompt": "a", "duration": 1}, {("number_gte", "input.duration")}),
        ({"prompt": "a", "resolution": "4k"}, {("enum", "input.resolution")}),
        ({"prompt": "a", "last_frame_image": PIXEL}, {("dependency", "input")}),
        (
            {"prompt": "a", "image": "data:image/png;base64," + "A" * 400_000},
            {("too_large", "input.image")},
        ),
    ],
)
def test_invalid_input_is_rejected_at_once(
    sandbox: Sandbox, order: dict[str, Any], fields: set[tuple[str, str]]
) -> None:
    answer = sandbox.predict(SEEDANCE, input=order)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert {(item["type"], item["field"]) for item in answer.json()["invalid_fields"]} == fields
    assert sandbox.bill()["lines"] == []


def test_unreachable_picture_fails_the_prediction(sandbox: Sandbox) -> None:
    order = {"prompt": "a", "image": "http://127.0.0.1:1/nothing.png"}
    done = sandbox.predicted(sandbox.predict(SEEDANCE, input=order))
    assert (done["status"], done["output"]) == ("failed", None)
    assert "http://127.0.0.1:1/nothing.png" in done["error"]
    assert sandbox.bill()["total_nano_usd"] == 0


def test_unknown_token_model_and_prediction_are_rejected(sandbox: Sandbox) -> None:
    path = f"/replicate/v1/models/{FLUX}/predictions"
    assert sandbox.client.post(path, json={"input": {"prompt": "a"}}).json() == {
        "title": "Unauthenticated", "detail": "You did not pass a valid authentication token", "status": 401,
    }  # fmt: skip
    assert sandbox.predict("nobody/nothing", input={"prompt": "a"}).status_code == 404
    missing = sandbox.client.get("/replicate/v1/predictions/none", headers=REPLICATE)
    assert (missing.status_code, missing.headers["content-type"]) == (
        404,
        "application/problem+json",
    )


def test_cancel_is_free_in_queue_and_charged_in_full_running(
    sandbox: Sandbox,
) -> None:
    sandbox.set(queue_seconds=20, video_seconds=60)
    order = {"prompt": "a", "resolution": "720p", "duration": 10}
    waiting = sandbox.predict(SEEDANCE, input=order).json()
    sandbox.set(queue_seconds=0)
    running = sandbox.predict(SEEDANCE, input=order).json()
    sandbox.wait_until(lambda: sandbox.prediction(running["id"])["status"] == "processing")
    for job in (waiting, running, running):
        answer = sandbox.client.post(job["urls"]["cancel"], headers=REPLICATE)
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    free, charged = sandbox.bill()["lines"]
    assert (free["state"], free["billed_nano_usd"]) == ("canceled", 0)
    assert (charged["billable_units"], charged["billed_nano_usd"]) == (10, 600_000_000)


def test_cancel_after_aborts_queued_and_cancels_running_predictions(sandbox: Sandbox) -> None:
    sandbox.set(queue_seconds=20, video_seconds=60)
    order, headers = {"prompt": "a", "resolution": "480p"}, {"Cancel-After": "5s"}
    waiting = sandbox.predict(SEEDANCE, input=order, headers=headers)
    sandbox.set(queue_seconds=0.1)
    running = sandbox.predict(SEEDANCE, input=order, headers=headers)
    assert waiting.json()["deadline"] is not None
    for created, status in ((waiting, "aborted"), (running, "canceled")):
        ended = sandbox.predicted(created)
        assert ended["status"] == status
        assert ended["completed_at"] >= ended["deadline"]
    assert [line["billed_nano_usd"] for line in sandbox.bill()["lines"]] == [0, 5 * 30_000_000]
    for wrong in ("1s", "25h", "soon"):
        assert (
            sandbox.predict(SEEDANCE, input=order, headers={"Cancel-After": wrong}).status_code
            == 422
        )


def test_list_has_running_predictions_and_time_filters(sandbox: Sandbox) -> None:
    sandbox.set(image_seconds=20)
    first = sandbox.predict(input={"prompt": "first"}).json()
    time.sleep(0.05)
    second = sandbox.predict(input={"prompt": "second"}).json()

    def listed(**query: str) -> list[str]:
        answer = sandbox.client.get("/replicate/v1/predictions", params=query, headers=REPLICATE)
        assert answer.status_code == 200, answer.text
        return [item["input"]["prompt"] for item in answer.json()["results"]]

    assert listed() == ["second", "first"]
    assert listed(created_after=second["created_at"]) == ["second"]
    assert listed(created_before=second["created_at"]) == ["first"]
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert listed(created_after=later) == []
    assert listed(created_after=first["created_at"], created_before=later) == ["second", "first"]
    sandbox.set(history_lag_seconds=60)
    assert listed() == []


def test_data_is_removed_after_its_life(sandbox: Sandbox) -> None:
    sandbox.set(data_life_seconds=0.3)
    done = sandbox.predicted(sandbox.predict(input={"prompt": "a"}))
    assert done["output"]
    sandbox.wait_until(lambda: sandbox.prediction(done["id"])["data_removed"])
    removed = sandbox.prediction(done["id"])
    assert (removed["input"], removed["output"], removed["status"]) == ({}, None, "succeeded")


def test_rate_limit_throttles_creates_if_set(sandbox: Sandbox) -> None:
    sandbox.set(replicate_creates_per_minute=2)
    answers = [sandbox.predict(input={"prompt": "a"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert answers[2].json()["detail"].startswith("Request was throttled.")
