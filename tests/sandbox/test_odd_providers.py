"""Faults of a whole provider, of its bill and of its lists."""

import time
from typing import Any

import httpx
import pytest

from tests.sandbox.process import FAL, FLUX, KLING, PIXEL, REPLICATE, SEEDANCE, Receiver, Sandbox

REPLICATE_VIDEO = "bytedance/seedance-1-pro"


def create(sandbox: Sandbox, provider: str) -> httpx.Response:
    return (
        sandbox.submit(prompt="a") if provider == "fal" else sandbox.predict(input={"prompt": "a"})
    )


def history(sandbox: Sandbox) -> list[str]:
    answer = sandbox.fal_get(f"/fal/api/v1/models/requests/by-endpoint?endpoint_id={FLUX}")
    return [item["request_id"] for item in answer.json()["items"]]


def predictions(sandbox: Sandbox) -> list[str]:
    answer = sandbox.client.get("/replicate/v1/predictions", headers=REPLICATE)
    return [item["id"] for item in answer.json()["results"]]


def status(sandbox: Sandbox, provider: str, body: dict[str, Any]) -> str:
    if provider == "fal":
        return sandbox.fal_get(body["status_url"]).json()["status"]
    return sandbox.prediction(body["id"])["status"]


@pytest.mark.parametrize(("provider", "done", "queued"), [
    ("fal", "COMPLETED", "IN_QUEUE"), ("replicate", "succeeded", "starting"),
])  # fmt: skip
def test_status_goes_backwards_once(
    sandbox: Sandbox, provider: str, done: str, queued: str
) -> None:
    fault_id = sandbox.fault("status_backwards", times=2, params={"after": "ended"})
    body = create(sandbox, provider).json()
    sandbox.wait_until(lambda: status(sandbox, provider, body) == done)
    assert sandbox.fired(fault_id) == 0
    assert [status(sandbox, provider, body) for _ in range(3)] == [queued, queued, done]
    assert sandbox.fired(fault_id) == 2


def test_status_goes_backwards_after_running(sandbox: Sandbox) -> None:
    sandbox.set(image_seconds=30, queue_seconds=0)
    sandbox.fault("status_backwards")
    body = create(sandbox, "fal").json()
    sandbox.wait_until(lambda: status(sandbox, "fal", body) == "IN_PROGRESS")
    assert [status(sandbox, "fal", body) for _ in range(2)] == ["IN_QUEUE", "IN_PROGRESS"]
    sandbox.client.put(body["cancel_url"], headers=FAL)


def test_status_goes_backwards_after_a_completed_callback(
    sandbox: Sandbox, receiver: Receiver
) -> None:
    sandbox.fault("status_backwards")
    body = sandbox.submit(prompt="a", callback=receiver.url).json()
    sandbox.wait_until(lambda: len(receiver.received) == 1)
    assert [status(sandbox, "fal", body) for _ in range(2)] == ["IN_QUEUE", "COMPLETED"]


@pytest.mark.parametrize(("factor", "units", "nano_usd"), [
    ("0", "0", 0), ("0.5", "0.5", 1_500_000), ("1.3", "1.3", 3_900_000), ("10", "10", 30_000_000),
])  # fmt: skip
def test_bill_factor_is_billed_and_reported_in_each_vendors_format(
    sandbox: Sandbox, factor: str, units: str, nano_usd: int
) -> None:
    fault_id = sandbox.fault("bill_factor", times=3, params={"factor": factor})
    result = sandbox.fal_result(create(sandbox, "fal"))  # one megapixel
    assert result.headers["x-fal-billable-units"] == units
    picture = sandbox.predicted(create(sandbox, "replicate"))
    assert picture["metrics"]["image_output_count"] == float(units)
    video = sandbox.predicted(
        sandbox.predict(REPLICATE_VIDEO, input={"prompt": "a", "duration": 5, "resolution": "480p"})
    )
    assert video["metrics"]["video_output_duration_seconds"] == pytest.approx(5 * float(units))
    bill = sandbox.bill()["lines"]
    assert [line["price_nano_usd"] for line in bill] == [3_000_000, 3_000_000, 150_000_000], (
        "the estimate stays"
    )
    assert [line["billed_nano_usd"] for line in bill] == [nano_usd, nano_usd, 50 * nano_usd]
    assert {line["billed"] for line in bill} == {nano_usd > 0}
    assert sandbox.fired(fault_id) == 3


def test_bill_factor_of_tokens_is_an_integer_if_possible(sandbox: Sandbox) -> None:
    sandbox.fault("bill_factor", params={"factor": "0.5"})
    result = sandbox.fal_result(
        sandbox.submit(
            SEEDANCE,
            prompt="a",
            image_url=PIXEL,
            aspect_ratio="16:9",
            resolution="720p",
            duration="5",
        )
    )
    assert result.headers["x-fal-billable-units"] == "54000"
    assert sandbox.bill()["total_nano_usd"] == 54_000 * 2_500


@pytest.mark.parametrize("provider", ["fal", "replicate"])
def test_accept_twice_makes_two_paid_jobs_that_both_call_back(
    sandbox: Sandbox, receiver: Receiver, provider: str
) -> None:
    fault_id = sandbox.fault("accept_twice")
    if provider == "fal":
        told = sandbox.submit(prompt="a", seed=7, callback=f"{receiver.url}/token").json()[
            "request_id"
        ]
    else:
        told = sandbox.predict(
            input={"prompt": "a", "seed": 7},
            webhook=f"{receiver.url}/token",
            webhook_events_filter=["completed"],
        ).json()["id"]
    sandbox.wait_until(lambda: len(receiver.received) == 2)
    bill = sandbox.bill()["lines"]
    assert [(line["token"], line["billed"], line["input"]) for line in bill] == [
        ("token", True, {"prompt": "a", "seed": 7})
    ] * 2
    assert told == bill[0]["provider_job_id"] != bill[1]["provider_job_id"]
    shown = history(sandbox) if provider == "fal" else predictions(sandbox)
    assert set(shown) == {line["provider_job_id"] for line in bill}
    assert sandbox.client.get("/__control/requests").json()["total"] == 1
    assert sandbox.fired(fault_id) == 1


@pytest.mark.parametrize("provider", ["fal", "replicate"])
def test_no_id_is_a_success_without_a_job_id(sandbox: Sandbox, provider: str) -> None:
    fault_id = sandbox.fault("no_id")
    answer = create(sandbox, provider)
    assert answer.status_code in {200, 201}
    line = sandbox.bill()["lines"][0]
    assert line["provider_job_id"] not in answer.text
    assert answer.json()["status"] in {"IN_QUEUE", "starting"}
    sandbox.fault("no_id", params={"accept": False})
    assert create(sandbox, provider).json() == {}
    assert (len(sandbox.bill()["lines"]), sandbox.fired(fault_id)) == (1, 1)


@pytest.mark.parametrize("how", [None, "close", "reset"])
def test_down_stops_all_operations_of_one_provider_until_removed(
    sandbox: Sandbox, how: str | None
) -> None:
    body = create(sandbox, "fal").json()
    sandbox.fal_result(create(sandbox, "fal"))
    fault_id = sandbox.fault("down", provider="fal", params={"how": how} if how else {})
    paths = [
        body["status_url"],
        body["response_url"],
        f"/fal/api/v1/models/requests/by-endpoint?endpoint_id={FLUX}",
    ]
    paths.append("/fal/.well-known/jwks.json")
    for call in [
        *(lambda path=path: sandbox.fal_get(path) for path in paths),
        lambda: create(sandbox, "fal"),
    ]:
        if how is None:
            assert call().status_code == 503
        else:
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                call()
    assert create(sandbox, "replicate").status_code == 201
    assert (len(sandbox.bill()["lines"]), sandbox.fired(fault_id)) == (3, 5)
    sandbox.client.delete(f"/__control/faults/{fault_id}")
    assert create(sandbox, "fal").status_code == 200


def test_down_ends_by_itself_after_its_seconds(sandbox: Sandbox) -> None:
    fault_id = sandbox.fault("down", params={"seconds": 0.4})
    began = time.monotonic()
    sandbox.wait_until(lambda: create(sandbox, "fal").status_code == 200)
    assert time.monotonic() - began > 0.3
    assert sandbox.fired(fault_id) > 1
    assert sandbox.client.get("/__control/requests").json()["total"] == sandbox.fired(fault_id) + 1


@pytest.mark.parametrize("provider", ["fal", "replicate"])
@pytest.mark.parametrize("status", [500, 502, 503])
def test_billed_5xx_can_have_the_vendors_format(
    sandbox: Sandbox, provider: str, status: int
) -> None:
    sandbox.fault("answer_502_after_accept", params={"status": status, "form": "vendor"})
    answer = create(sandbox, provider)
    assert (answer.status_code, "detail" in answer.json()) == (status, True)
    assert len(sandbox.bill()["lines"]) == 1


@pytest.mark.parametrize("provider", ["fal", "replicate"])
def test_ten_megabyte_response_follows_or_replaces_the_accept(
    sandbox: Sandbox, provider: str
) -> None:
    sandbox.fault("huge_body", params={"bytes": 10_000_000})
    sandbox.fault("huge_body", params={"bytes": 10_000_000, "accept": False})
    assert [len(create(sandbox, provider).content) > 9_900_000 for _ in range(2)] == [True, True]
    assert len(sandbox.bill()["lines"]) == 1


@pytest.mark.parametrize("lag_seconds", [0.0, 0.6])
def test_lists_show_a_running_job_after_the_lag(sandbox: Sandbox, lag_seconds: float) -> None:
    sandbox.set(history_lag_seconds=lag_seconds, history_hides_running=False, image_seconds=30)
    began = time.monotonic()
    fal, replicate = create(sandbox, "fal").json(), create(sandbox, "replicate").json()
    if not lag_seconds:
        assert (history(sandbox), predictions(sandbox)) == ([fal["request_id"]], [replicate["id"]])
        return
    assert (history(sandbox), predictions(sandbox)) == ([], [])
    sandbox.wait_until(
        lambda: (
            history(sandbox) == [fal["request_id"]] and predictions(sandbox) == [replicate["id"]]
        )
    )
    assert time.monotonic() - began >= lag_seconds


@pytest.mark.parametrize("lag_seconds", [0.0, 0.5])
def test_both_lists_can_hide_running_jobs(sandbox: Sandbox, lag_seconds: float) -> None:
    sandbox.set(
        history_hides_running=True,
        list_hides_running=True,
        history_lag_seconds=lag_seconds,
        image_seconds=30,
    )
    fal, replicate = create(sandbox, "fal").json(), create(sandbox, "replicate").json()
    time.sleep(0.3)
    assert (history(sandbox), predictions(sandbox)) == ([], [])
    began = time.monotonic()
    sandbox.client.put(fal["cancel_url"], headers=FAL)
    sandbox.client.post(replicate["urls"]["cancel"], headers=REPLICATE)
    sandbox.wait_until(
        lambda: (
            history(sandbox) == [fal["request_id"]] and predictions(sandbox) == [replicate["id"]]
        )
    )
    assert time.monotonic() - began >= lag_seconds


@pytest.mark.parametrize(
    "order",
    [
        {"fault": "hold", "params": {"stage": "sometime"}},
        {"fault": "hold", "params": {"when_gone": "cry"}},
        {"fault": "bill_factor"},
        {"fault": "bill_factor", "params": {"factor": 2}},
        {"fault": "bill_factor", "params": {"factor": "-1"}},
        {"fault": "bill_factor", "params": {"factor": "much"}},
        {"fault": "bill_factor", "params": {"factor": "NaN"}},
    ],
)
def test_invalid_faults_are_rejected(sandbox: Sandbox, order: dict[str, Any]) -> None:
    answer = sandbox.client.post("/__control/faults", json=order)
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_bill_factor_applies_to_kling(sandbox: Sandbox) -> None:
    sandbox.fault("bill_factor", params={"factor": "2"})
    result = sandbox.fal_result(sandbox.submit(KLING, prompt="a", image_url=PIXEL))
    assert result.headers["x-fal-billable-units"] == "10"
    assert sandbox.bill()["total_nano_usd"] == 700_000_000
