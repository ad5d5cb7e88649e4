"""Accounts: each sees only its own jobs and has its own webhook secret."""

from typing import Any

import pytest

from tests.sandbox.process import FLUX, Sandbox

ALICE, BOB = {"Authorization": "Bearer r8_any#alice"}, {"Authorization": "Bearer r8_any#bob"}
FAL_ALICE, FAL_BOB = {"Authorization": "Key id:any#alice"}, {"Authorization": "Key id:any#bob"}
PROMPT: dict[str, Any] = {"input": {"prompt": "a kite"}}


def test_prediction_is_visible_to_its_account_only(sandbox: Sandbox) -> None:
    made = sandbox.predict(**PROMPT, headers=ALICE).json()["id"]
    main = sandbox.predict(**PROMPT).json()["id"]
    for headers, status, listed in ((ALICE, 200, [made]), (BOB, 404, []), ({}, 404, [main])):
        sent = {"Authorization": "Bearer r8_token"} | headers
        assert (
            sandbox.client.get(f"/replicate/v1/predictions/{made}", headers=sent).status_code
            == status
        )
        results = sandbox.client.get("/replicate/v1/predictions", headers=sent).json()["results"]
        assert [one["id"] for one in results] == listed
    assert (
        sandbox.client.post(f"/replicate/v1/predictions/{made}/cancel", headers=BOB).status_code
        == 404
    )
    assert [line["account"] for line in sandbox.bill()["lines"]] == ["alice", ""]


def test_fal_request_is_visible_to_its_account_only(sandbox: Sandbox) -> None:
    submitted = sandbox.submit(prompt="a kite", headers=FAL_ALICE)
    address = submitted.json()["status_url"]
    sandbox.wait_until(
        lambda: sandbox.client.get(address, headers=FAL_ALICE).json()["status"] == "COMPLETED"
    )
    assert sandbox.client.get(address, headers=FAL_BOB).status_code == 404
    assert sandbox.fal_get(address).status_code == 404
    history = f"/fal/api/v1/models/requests/by-endpoint?endpoint_id={FLUX}"
    shown = [
        len(sandbox.client.get(history, headers=one).json()["items"])
        for one in (FAL_ALICE, FAL_BOB)
    ]
    assert shown == [1, 0]


def test_secret_of_each_account_is_its_own(sandbox: Sandbox) -> None:
    path = "/replicate/v1/webhooks/default/secret"
    secrets = [sandbox.client.get(path, headers=one).json()["key"] for one in (ALICE, BOB, ALICE)]
    assert secrets[0] == secrets[2] != secrets[1]
    assert all(secret.startswith("whsec_") for secret in secrets)


@pytest.mark.parametrize("status", [402, 429])
def test_fault_of_an_account_affects_only_its_calls(sandbox: Sandbox, status: int) -> None:
    fault = "refuse_429" if status == 429 else "refuse"
    order = sandbox.fault(fault, params={"account": "alice", "status": status}, times=-1)
    assert sandbox.predict(**PROMPT, headers=BOB).status_code == 201
    assert sandbox.predict(**PROMPT).status_code == 201
    assert sandbox.fired(order) == 0
    assert sandbox.predict(**PROMPT, headers=ALICE).status_code == status
    assert sandbox.fired(order) == 1


def test_revoked_key_is_rejected_but_not_the_accounts_other_keys(sandbox: Sandbox) -> None:
    sandbox.set(revoked_keys=["r8_any#alice"])
    assert sandbox.predict(**PROMPT, headers=ALICE).status_code == 401
    other = {"Authorization": "Bearer r8_other#alice"}
    made = sandbox.predict(**PROMPT, headers=other)
    assert made.status_code == 201
    sandbox.set(revoked_keys=[])
    assert (
        sandbox.client.get(
            f"/replicate/v1/predictions/{made.json()['id']}", headers=ALICE
        ).status_code
        == 200
    )
    calls = sandbox.client.get("/__control/calls").json()["calls"]
    assert {(call["key"], call["account"]) for call in calls} == {
        ("r8_any#alice", "alice"),
        ("r8_other#alice", "alice"),
    }
