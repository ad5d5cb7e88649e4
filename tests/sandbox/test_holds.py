"""Held calls: what has been processed at each stage, and how they continue."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.sandbox.process import FAL, FLUX, REPLICATE, Receiver, Sandbox

STAGES = {"before_read": 0, "before_accept": 0, "after_accept": 1}


@pytest.fixture
def calls() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def create(sandbox: Sandbox, provider: str) -> httpx.Response:
    return (
        sandbox.submit(prompt="a") if provider == "fal" else sandbox.predict(input={"prompt": "a"})
    )


def fault(sandbox: Sandbox, fault_id: str) -> dict[str, Any]:
    return next(
        item
        for item in sandbox.client.get("/__control/faults").json()["faults"]
        if item["id"] == fault_id
    )


def wait_until_held(sandbox: Sandbox, fault_id: str, count: int = 1) -> None:
    sandbox.wait_until(lambda: fault(sandbox, fault_id)["parked"] == count)


def release(sandbox: Sandbox, **order: str) -> int:
    answer = sandbox.client.post("/__control/release", json=order)
    assert answer.status_code == 200, answer.text
    return answer.json()["released"]


def lines(sandbox: Sandbox) -> int:
    return len(sandbox.bill()["lines"])


@pytest.mark.parametrize("provider", ["fal", "replicate"])
@pytest.mark.parametrize(("stage", "billed"), STAGES.items())
def test_held_create_continues_when_released(
    sandbox: Sandbox, calls: ThreadPoolExecutor, provider: str, stage: str, billed: int
) -> None:
    fault_id = sandbox.fault("hold", provider=provider, params={"stage": stage})
    call = calls.submit(create, sandbox, provider)
    wait_until_held(sandbox, fault_id)
    assert not call.done()
    assert (lines(sandbox), sandbox.fired(fault_id)) == (billed, 1)
    assert create(sandbox, provider).status_code in {200, 201}, "one only is held"
    assert release(sandbox, id=fault_id) == 1
    assert call.result(5).status_code in {200, 201}
    assert lines(sandbox) == 2
    seen = fault(sandbox, fault_id)
    assert (seen["parked"], seen["parked_total"], seen["parked_calls"][0]["state"]) == (
        0,
        1,
        "released",
    )


@pytest.mark.parametrize("how", ["drop", "reset"])
@pytest.mark.parametrize(("stage", "billed"), STAGES.items())
def test_held_create_is_dropped_on_release(
    sandbox: Sandbox, calls: ThreadPoolExecutor, stage: str, billed: int, how: str
) -> None:
    fault_id = sandbox.fault("hold", params={"stage": stage})
    call = calls.submit(create, sandbox, "replicate")
    wait_until_held(sandbox, fault_id)
    release(sandbox, how=how)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        call.result(5)
    assert lines(sandbox) == billed


@pytest.mark.parametrize(
    ("stage", "when_gone", "billed"),
    [
        ("before_read", "go_on", 0),  # the caller has disconnected: nothing left to read
        ("before_accept", "go_on", 1),
        ("before_accept", "drop", 0),
        ("after_accept", "go_on", 1),
    ],
)
@pytest.mark.parametrize("provider", ["fal", "replicate"])
def test_held_call_is_marked_gone_when_its_client_disconnects(
    sandbox: Sandbox, provider: str, stage: str, when_gone: str, billed: int
) -> None:
    fault_id = sandbox.fault("hold", params={"stage": stage, "when_gone": when_gone})
    _give_up(sandbox, provider)
    sandbox.wait_until(lambda: fault(sandbox, fault_id)["parked_calls"][0]["state"] == "gone")
    seen = fault(sandbox, fault_id)
    assert (seen["parked"], seen["parked_total"], seen["fired"]) == (0, 1, 1)
    if billed:
        sandbox.wait_until(lambda: lines(sandbox) == 1)
    assert create(sandbox, provider).status_code in {200, 201}
    assert lines(sandbox) == billed + 1


def test_held_call_can_stay_and_be_accepted_without_client(sandbox: Sandbox) -> None:
    fault_id = sandbox.fault("hold", params={"stage": "before_accept", "when_gone": "stay"})
    _give_up(sandbox, "fal")
    sandbox.wait_until(lambda: fault(sandbox, fault_id)["parked_calls"][0]["state"] == "gone")
    assert lines(sandbox) == 0
    release(sandbox, id=fault_id)
    sandbox.wait_until(lambda: lines(sandbox) == 1)


def _give_up(sandbox: Sandbox, provider: str) -> None:
    """Send a create call without waiting for the response."""
    path, body, headers = f"/fal/queue/{FLUX}", {"prompt": "a"}, FAL
    if provider == "replicate":
        path, body = (
            "/replicate/v1/models/black-forest-labs/flux-schnell/predictions",
            {"input": body},
        )
        headers = REPLICATE
    with (
        httpx.Client(base_url=sandbox.url, timeout=0.2, trust_env=False) as client,
        pytest.raises(httpx.ReadTimeout),
    ):
        client.post(path, json=body, headers=headers)


Call = Callable[[Sandbox, dict[str, Any]], httpx.Response]
OTHERS: dict[str, Call] = {
    "status": lambda sandbox, job: sandbox.fal_get(job["status_url"]),
    "result": lambda sandbox, job: sandbox.fal_get(job["response_url"]),
    "cancel": lambda sandbox, job: sandbox.client.put(job["cancel_url"], headers=FAL),
    "list": lambda sandbox, _: sandbox.client.get("/replicate/v1/predictions", headers=REPLICATE),
    "file": lambda sandbox, job: sandbox.client.get(
        sandbox.fal_get(job["response_url"]).json()["images"][0]["url"], headers=FAL
    ),
}


@pytest.mark.parametrize("operation", OTHERS)
@pytest.mark.parametrize("stage", STAGES)
def test_other_operations_can_be_held_too(
    sandbox: Sandbox, calls: ThreadPoolExecutor, operation: str, stage: str
) -> None:
    submitted = sandbox.submit(prompt="a")
    sandbox.fal_result(submitted)
    fault_id = sandbox.fault("hold", operation=operation, params={"stage": stage})
    call: Future[httpx.Response] = calls.submit(OTHERS[operation], sandbox, submitted.json())
    wait_until_held(sandbox, fault_id)
    release(sandbox)
    assert call.result(5).status_code == (400 if operation == "cancel" else 200)


def test_held_callback_is_sent_only_when_released(sandbox: Sandbox, receiver: Receiver) -> None:
    fault_id = sandbox.fault("hold", operation="callback", times=2)
    sandbox.submit(prompt="a", callback=f"{receiver.url}/one")
    wait_until_held(sandbox, fault_id)
    assert sandbox.bill()["lines"][0]["state"] == "succeeded"
    assert receiver.received == []
    release(sandbox, id=fault_id)
    sandbox.wait_until(lambda: [item.path for item in receiver.received] == ["/one"])
    sandbox.submit(prompt="a", callback=f"{receiver.url}/two")
    wait_until_held(sandbox, fault_id)
    release(sandbox, id=fault_id, how="drop")
    sandbox.wait_until(
        lambda: len(sandbox.client.get("/__control/callbacks").json()["callbacks"]) == 2
    )
    assert [item.path for item in receiver.received] == ["/one"]


def test_removing_the_fault_continues_its_calls(
    sandbox: Sandbox, calls: ThreadPoolExecutor
) -> None:
    fault_id = sandbox.fault("hold", times=-1)
    held = [calls.submit(create, sandbox, "fal") for _ in range(3)]
    wait_until_held(sandbox, fault_id, 3)
    assert sandbox.client.delete(f"/__control/faults/{fault_id}").status_code == 204
    assert [call.result(5).status_code for call in held] == [200, 200, 200]


def test_reset_drops_held_calls(sandbox: Sandbox, calls: ThreadPoolExecutor) -> None:
    fault_id = sandbox.fault("hold")
    call = calls.submit(create, sandbox, "fal")
    wait_until_held(sandbox, fault_id)
    sandbox.reset()
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        call.result(5)
    assert lines(sandbox) == 0


def test_invalid_release_is_rejected(sandbox: Sandbox) -> None:
    for order in ({"how": "gently"}, {"id": 7}, {"name": "x"}):
        assert sandbox.client.post("/__control/release", json=order).status_code == 422
    assert sandbox.client.post("/__control/release").json() == {"released": 0}


def test_sandbox_stops_while_calls_are_held(tmp_path_factory: pytest.TempPathFactory) -> None:
    own = Sandbox(tmp_path_factory.mktemp("held"))
    fault_id = own.fault("hold")
    thread = threading.Thread(target=_ignore_the_end, args=(own.url,))
    thread.start()
    wait_until_held(own, fault_id)
    assert own.stop() == 0
    thread.join()


def _ignore_the_end(url: str) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.post(
            f"{url}/fal/queue/{FLUX}",
            json={"prompt": "a"},
            headers=FAL,
            trust_env=False,
            timeout=20,
        )
