"""POST /api/executions/{id}/approve, and what an execution shows while it waits."""

import json
from typing import Any

import asyncpg
import pytest

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId
from core.domain.money import nano_usd
from core.domain.states import ExecutionStatus, JobState
from core.maintenance.repairs.decisions import DecisionRepairs
from core.store.approvals.decisions import choose, lock_approval
from core.store.files.assets import list_execution_assets
from core.store.money.reports.ledger_check import list_findings
from tests.api.approvals import BODY, CHOOSE, CLIP, DRAFT, Order, ordered
from tests.api.conftest import Api, TestUser
from tests.support.fake_temporal import FakeTemporal
from tests.support.rows import assert_books_balance
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G2", "G3")

OLDER = "UPDATE approvals SET expires_at = now(), decided_at = decided_at - interval '1 min'"


async def check_books(order: Order) -> None:
    async with order.api.database.as_system() as conn:
        assert await list_findings(conn) == []
    async with order.api.database.as_user(order.user.user_id) as conn:
        await assert_books_balance(conn, order.user.user_id)


async def as_owner(database: FreshDatabase, statement: str) -> None:
    connection = await asyncpg.connect(database.owner_dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_waiting_execution_shows_options_and_price_of_the_rest(
    api: Api, user: TestUser
) -> None:
    order = await ordered(api, user, webhook="https://hooks.example.com/takeone")
    assert (await order.seen())["waitingFor"] == []
    result = await order.look()
    assert (result.state, result.seconds_left) == (JobState.WAITING, 3600)

    seen = await order.seen()
    (waiting,) = seen["waitingFor"]
    assert (seen["status"], seen["currentJob"]) == ("running", "choose")
    assert [option["step"] for option in waiting["options"]] == ["draft-1", "draft-2"]
    (file,) = waiting["options"][1]["assets"]
    assert file["url"] == f"http://api.test/api/assets/{file['id']}/content"
    assert (file["step"], file["kind"]) == ("draft-2", "image")
    clip = await order.job("clip")
    rest = waiting["rest"]
    assert rest["steps"] == ["clip"]
    assert rest["worst"] == clip["cost"]["held"] == seen["cost"]["held"]
    assert 0 < nano_usd(rest["low"]) <= nano_usd(rest["expected"]) <= nano_usd(rest["worst"])
    quoted = (await user.http.post("/api/quotes/executions", json=BODY)).json()["jobs"]
    assert rest["expected"] == quoted[-1]["expected"]

    (delivery,) = order.temporal.deliveries
    async with api.database.as_user(user.user_id) as conn:
        row = await conn.fetchrow("SELECT event_id, type, body FROM webhooks")
    assert row is not None
    body: dict[str, Any] = json.loads(row["body"])
    assert delivery.event_id == row["event_id"] == body["id"]
    assert body["type"] == row["type"] == "execution.waiting_for_approval"
    assert (body["status"], body["result"]) == ("running", None)
    assert body["waitingFor"]["rest"] == rest
    assert seen["webhook"]["eventId"] is None, "the webhook of the end is another one"
    again = await order.look()
    assert again.seconds_left <= 3600, "a repeated look changes nothing"
    assert len(order.temporal.deliveries) == 1


async def test_chosen_file_is_that_of_the_approval_step(api: Api, user: TestUser) -> None:
    order = await ordered(api, user)
    await order.look()
    status, body = await order.decide(step="choose", option="draft-2")
    assert status == 200
    assert (body["decision"], body["option"]) == ("approved", "draft-2")
    handle = api.services.temporal.get_workflow_handle(order.execution_id)
    signals = [
        event.workflow_execution_signaled_event_attributes.signal_name
        async for event in handle.fetch_history_events()
        if event.HasField("workflow_execution_signaled_event_attributes")
    ]
    assert signals == ["approval_decided"]
    assert (await order.look()).state is JobState.COMPLETED

    chosen, job = await order.job("draft-2"), await order.job("choose")
    assert (job["state"], job["reusedFrom"]) == ("completed", chosen["id"])
    assert (await order.seen())["waitingFor"] == []
    async with api.database.as_user(user.user_id) as conn:
        files = {
            item.step: item.asset.asset_id
            for item in await list_execution_assets(conn, order.execution_id)
        }
    assert files["choose"] == files["draft-2"] != files["draft-1"]


async def test_decision_is_final_and_repeatable(api: Api, user: TestUser) -> None:
    order = await ordered(api, user)
    assert (await order.decide(step="choose", option="draft-1"))[0] == 409, "not open yet"
    await order.look()
    first = await order.decide(step="choose", option="draft-1")
    assert first[0] == 200
    assert await order.decide(step="choose", option="draft-1") == first
    for other in ({"option": "draft-2"}, {"reject": True}):
        status, problem = await order.decide(step="choose", **other)
        assert (status, problem["code"]) == (409, "approval_decided")
        assert problem["decision"]["option"] == "draft-1"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"step": "clip", "option": "draft-1"}, "step"),
        ({"step": "choose", "option": "clip"}, "option"),
        ({"step": "choose"}, "option"),
        ({"step": "choose", "option": "draft-1", "reject": True}, None),
        ({"option": "draft-1"}, "step"),
    ],
)
async def test_invalid_decision_names_what_is_allowed(
    shared_api: Api, api_once: TestUser, body: dict[str, Any], field: str | None
) -> None:
    order = await ordered(shared_api, api_once)
    await order.look()
    status, problem = await order.decide(**body)
    assert (status, problem["code"]) == (422, "invalid_request")
    if field is not None:
        assert [error["field"] for error in problem["errors"]] == [field]
    await order.end(ExecutionStatus.CANCELLED, Failure.of(FailureCode.CANCELLED))


async def test_execution_of_another_user_cannot_be_decided(api: Api, user: TestUser) -> None:
    order = await ordered(api, user)
    await order.look()
    other = await api.new_user()
    async with other.http:
        answer = await other.http.post(
            f"{order.path}/approve", json={"step": "choose", "option": "draft-1"}
        )
    assert answer.status_code == 404


async def test_rejection_releases_the_rest_and_retry_asks_again(api: Api, user: TestUser) -> None:
    order = await ordered(api, user)
    await order.look()
    status, body = await order.decide(step="choose", reject=True)
    assert (status, body["decision"], body["option"]) == (200, "rejected", None)
    result = await order.look()
    assert result.state is JobState.CANCELLED
    assert result.failure is not None
    await order.end(ExecutionStatus.CANCELLED, result.failure)
    seen = await order.seen()
    assert (seen["status"], seen["error"]["code"]) == ("cancelled", "approval_rejected")
    assert (seen["cost"]["held"], seen["cost"]["settled"]) == ("0", "0.004")
    await check_books(order)

    retried = (await user.http.post(f"{order.path}/retry")).json()
    assert [step["step"] for step in retried["toPay"]] == ["clip"]
    assert [step["step"] for step in retried["kept"]] == ["draft-1", "draft-2"]
    await order.claim()
    assert (await order.look()).state is JobState.WAITING
    assert (await order.decide(step="choose", option="draft-2"))[0] == 200
    await check_books(order)


async def test_late_decision_is_refused_and_the_step_expires(
    api: Api, user: TestUser, fresh_database: FreshDatabase
) -> None:
    order = await ordered(api, user)
    await order.look()
    await as_owner(fresh_database, OLDER)
    status, problem = await order.decide(step="choose", option="draft-1")
    assert (status, problem["code"]) == (409, "approval_not_open")
    result = await order.look()
    assert result.failure is not None
    assert (result.state, result.failure.code) == (JobState.FAILED, FailureCode.APPROVAL_EXPIRED)
    await order.end(ExecutionStatus.FAILED, result.failure)
    seen = await order.seen()
    assert seen["error"]["code"] == "approval_expired"
    assert (seen["cost"]["held"], seen["cost"]["final"]) == ("0", True)
    await check_books(order)
    retried = (await user.http.post(f"{order.path}/retry")).json()
    assert [step["step"] for step in retried["toPay"]] == ["clip"], "no draft is bought twice"


async def test_retry_keeps_the_decision_and_buys_no_other_option(api: Api, user: TestUser) -> None:
    order = await ordered(api, user, bought=False)
    await order.buy("draft-1", Failure.of(FailureCode.PROVIDER_FAILED))
    await order.buy("draft-2")
    await order.look()
    (waiting,) = (await order.seen())["waitingFor"]
    assert [option["step"] for option in waiting["options"]] == ["draft-2"]
    assert (await order.decide(step="choose"))[0] == 200, "the only option needs no name"
    await order.look()
    await order.end(ExecutionStatus.FAILED, Failure.of(FailureCode.PROVIDER_FAILED))
    retried = (await user.http.post(f"{order.path}/retry")).json()
    assert [step["step"] for step in retried["toPay"]] == ["clip"]
    assert {step["step"] for step in retried["kept"]} == {"draft-2", "choose"}


async def test_approval_without_any_option_fails(api: Api, user: TestUser) -> None:
    order = await ordered(api, user, bought=False)
    for step in ("draft-1", "draft-2"):
        await order.buy(step, Failure.of(FailureCode.PROVIDER_FAILED))
    result = await order.look()
    assert result.failure is not None
    assert (result.state, result.failure.code) == (JobState.FAILED, FailureCode.PROVIDER_FAILED)
    assert (await order.decide(step="choose"))[0] == 409


async def test_waiting_execution_has_no_slot(api: Api, user: TestUser) -> None:
    order = await ordered(api, user)
    next_order = await user.http.post("/api/executions", json=BODY)
    next_id = ExecutionId(next_order.json()["executionId"])
    await order.look(is_idle=False)
    assert (await order.running(), order.temporal.started) == (1, [])
    await order.look()
    assert (await order.running(), order.temporal.started) == (0, [next_id])
    await check_books(order)
    await order.decide(step="choose", option="draft-1")
    await order.look()
    assert await order.running() == 1
    await check_books(order)
    await order.end(ExecutionStatus.FAILED, Failure.of(FailureCode.TERMINATED))
    assert await order.running() == 0
    await check_books(order)


async def test_cancelled_execution_cannot_be_decided(api: Api, user: TestUser) -> None:
    order = await ordered(api, user)
    await order.look()
    async with api.database.as_user(user.user_id) as conn:
        await conn.execute("UPDATE executions SET cancel_requested_at = now()")
    assert (await order.decide(step="choose", option="draft-1"))[0] == 409
    await order.end(ExecutionStatus.CANCELLED, Failure.of(FailureCode.CANCELLED))
    assert (await order.job("choose"))["state"] == "cancelled"
    await check_books(order)


async def test_deadline_counts_the_decision_and_not_the_whole_wait(
    api: Api, user: TestUser
) -> None:
    order = await ordered(api, user)
    left = "SELECT extract(epoch FROM deadline_at - now()) FROM executions"
    async with api.database.as_user(user.user_id) as conn:
        before = float(await conn.fetchval(left))
    await order.look()
    await order.decide(step="choose", option="draft-1")
    await order.look()
    async with api.database.as_user(user.user_id) as conn:
        after = float(await conn.fetchval(left))
        length = await conn.fetchval(
            "SELECT extract(epoch FROM deadline_at - started_at - waited) FROM executions"
        )
    assert 600 < after < before - 3600
    assert float(length) == pytest.approx(before, abs=60), "a retry has the whole time again"


@pytest.mark.guarantee("G5")
async def test_lost_signal_is_repeated_until_the_workflow_has_the_decision(
    api: Api, user: TestUser, fresh_database: FreshDatabase
) -> None:
    order = await ordered(api, user)
    await order.look()
    # An API that is killed after its commit sends no signal.
    async with api.database.as_user(user.user_id) as conn:
        approval = await lock_approval(conn, order.execution_id, "choose")
        assert approval is not None
        await choose(conn, approval, approval.options[0])
    temporal = FakeTemporal()
    repairs = DecisionRepairs(client=temporal.client(), database=api.database)
    await repairs.signal()
    assert temporal.decided == [], "the API may still be sending it"
    await as_owner(fresh_database, OLDER)
    await repairs.signal()
    await repairs.signal()
    assert temporal.decided == [(order.execution_id, "choose")], "once a minute"
    assert (await order.look()).state is JobState.COMPLETED
    fresh = DecisionRepairs(client=temporal.client(), database=api.database)
    await fresh.signal()
    assert len(temporal.decided) == 1


async def test_every_error_of_approvals_and_counts_has_its_path(api_once: TestUser) -> None:
    options: dict[str, Any] = {"options": [{"step": "draft"}], "expiresAfterSeconds": 5}
    none: dict[str, Any] = {"options": []}
    cases: list[tuple[list[dict[str, Any]], str]] = [
        ([DRAFT, {**CHOOSE, "params": options}], "plan/steps/1/params/expiresAfterSeconds"),
        ([DRAFT, {**CHOOSE, "params": none}], "plan/steps/1/params/options"),
        ([DRAFT, {**CHOOSE, "model": "x"}], "plan/steps/1/model"),
        ([{**DRAFT, "count": 1}, CHOOSE], "plan/steps/0/count"),
        ([{**DRAFT, "count": 9}, CHOOSE], "plan/steps/0/count"),
    ]
    for steps, field in cases:
        body: dict[str, Any] = {"plan": {"version": 1, "steps": [*steps, CLIP]}}
        answer = await api_once.http.post("/api/executions", json=body)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [field]
