"""POST /api/generate-video: accepted and refused requests, and the rows that are written."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from temporalio.client import WorkflowExecutionStatus

from core.domain.ids import ExecutionId
from core.domain.media.content import MediaKind
from core.domain.money import NanoUsd, nano_usd, usd_text
from core.domain.months import next_month
from core.domain.plans import (
    Parameters,
    StepKind,
    StepOutput,
    parameters_from_json,
    plan_from_json,
)
from core.ordering.planning.catalogue import fitting_models
from core.platform.temporal.policies import STORING_SLACK
from core.store.accounts.users import UserLimits
from tests.api.conftest import BASE_URL, Api, TestUser, api_settings, running_api
from tests.support.secrets import opened_secrets
from tests.support.servers import FreshDatabase

PATH = "/api/generate-video"
BODY: dict[str, Any] = {"prompt": "A paper boat on a rainy street"}
FULL: dict[str, Any] = {
    "prompt": "x" * 500,
    "duration": 10,
    "resolution": "1080p",
    "aspectRatio": "9:16",
    "seed": 2**31 - 1,
    "webhook": "https://example.com/hooks?order=1",
    "webhookSecret": "a text of sixteen or more",
    "metadata": {"order": "A-1", "number": 3, "ratio": 0.5, "yes": True},
}


async def test_generate_video_answers_202_and_can_be_read(api_once: TestUser) -> None:
    answer = await api_once.http.post(PATH, json=BODY)

    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert set(accepted) == {"executionId", "status", "statusUrl"}
    assert accepted["status"] == "queued"
    assert answer.headers["location"] == accepted["statusUrl"]
    assert accepted["statusUrl"] == f"{BASE_URL}/api/executions/{accepted['executionId']}"
    read = await api_once.http.get(accepted["statusUrl"])
    assert read.status_code == 200, read.text
    assert read.json()["id"] == accepted["executionId"]


async def test_generate_video_starts_its_workflow(api: Api, user: TestUser) -> None:
    execution_id = (await user.http.post(PATH, json=BODY)).json()["executionId"]

    described = await api.services.temporal.get_workflow_handle(execution_id).describe()
    assert described.status is WorkflowExecutionStatus.RUNNING
    assert described.workflow_type == "execution"


async def test_generate_video_writes_the_plan_and_holds_its_worst_price(
    api: Api, user: TestUser, fresh_database: FreshDatabase
) -> None:
    execution_id = ExecutionId((await user.http.post(PATH, json=FULL)).json()["executionId"])

    owner = await asyncpg.connect(fresh_database.owner_dsn)
    try:
        execution = await owner.fetchrow("SELECT * FROM executions")
        steps = await owner.fetch("SELECT * FROM steps ORDER BY position")
        held = await owner.fetchval(
            "SELECT sum(amount_nano_usd)::bigint FROM ledger_entries WHERE kind = 'held'"
        )
        budget = await owner.fetchrow("SELECT * FROM budgets")
    finally:
        await owner.close()
    assert execution is not None
    assert budget is not None
    assert execution["execution_id"] == execution_id
    plan = plan_from_json(json.loads(execution["plan"]))
    assert [(step.name, step.kind, step.needs) for step in plan.steps] == [
        ("image", StepKind.IMAGE, ()),
        ("video", StepKind.VIDEO, ("image",)),
    ]
    assert plan.result_step == "video"
    image, video = [parameters_from_json(json.loads(row["parameters"])) for row in steps]
    picture = {"prompt": FULL["prompt"], "aspect_ratio": "9:16", "seed": FULL["seed"]}
    assert image == Parameters(values=picture)
    assert video == Parameters(
        values={**picture, "duration_seconds": 10, "resolution": "1080p"},
        sources={"image": StepOutput(step="image")},
    )
    assert held == execution["estimated_nano_usd"] == budget["held_nano_usd"] > 0
    assert budget["held_videos"] == 1
    models = [api.services.providers.find_model(step.model) for step in plan.steps]
    lookups = sum(
        pair[0].certainty_horizon_seconds(pair[1]) + 60 for pair in models if pair is not None
    )
    total = sum(step.deadline_seconds for step in plan.steps) + lookups
    allowed = (execution["deadline_at"] - execution["created_at"]).total_seconds()
    assert allowed == pytest.approx(total + STORING_SLACK.total_seconds(), abs=2)
    assert FULL["webhookSecret"] not in str(execution)
    async with api.database.as_user(user.user_id) as conn:
        opened = await opened_secrets(conn, api.services.secrets, execution_id)
    assert opened == [FULL["webhookSecret"]]


async def test_generate_video_defaults_to_5_seconds_720p_16_to_9(
    user: TestUser, fresh_database: FreshDatabase
) -> None:
    await user.http.post(PATH, json={**BODY, "duration": None})

    owner = await asyncpg.connect(fresh_database.owner_dsn)
    try:
        row = await owner.fetchval("SELECT parameters FROM steps WHERE name = 'video'")
    finally:
        await owner.close()
    video = parameters_from_json(json.loads(row))
    assert video.values["duration_seconds"] == 5
    assert video.values["resolution"] == "720p"
    assert "seed" not in video.values


@pytest.mark.parametrize("model_kind", ["image", "video"])
async def test_generate_video_accepts_every_offered_model(
    api: Api, user: TestUser, model_kind: str
) -> None:
    files = {"image": MediaKind.IMAGE} if model_kind == "video" else {}
    models = fitting_models(api.services.providers, StepKind(model_kind), files)
    assert len(models) > 1
    for _, model in models:
        answer = await user.http.post(
            PATH, json={**BODY, f"{model_kind}Model": model.id, "seed": 7}
        )
        assert answer.status_code == 202, (model.id, answer.text)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 501}, "prompt"),
        ({"prompt": " \n\t"}, "prompt"),
        ({"prompt": "\u200b\u00ad\ufeff"}, "prompt"),
        ({"prompt": "\u2800 \u3164\ufe0f\u0301"}, "prompt"),
        ({"prompt": "\x01\x7f\u202e"}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": ["x"]}, "prompt"),
        ({"duration": 0}, "duration"),
        ({"duration": 31}, "duration"),
        ({"duration": 30}, "duration"),  # valid by the schema, but no model supports it
        ({"duration": 5.5}, "duration"),
        ({"duration": True}, "duration"),
        ({"duration": "5"}, "duration"),
        ({"duration": 10**30}, "duration"),
        ({"resolution": "8K"}, "resolution"),
        ({"resolution": 720}, "resolution"),
        ({"aspectRatio": "1:100"}, "aspectRatio"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"seed": True}, "seed"),
        ({"imageModel": "nobody/nothing"}, "imageModel"),
        ({"imageModel": ""}, "imageModel"),
        ({"videoModel": "fal-ai/flux/schnell"}, "videoModel"),
        ({"webhook": "ftp://example.com/"}, "webhook"),
        ({"webhook": "javascript:alert(1)"}, "webhook"),
        ({"webhook": "example.com"}, "webhook"),
        ({"webhook": "https://"}, "webhook"),
        ({"webhook": "http://:80/"}, "webhook"),
        ({"webhook": "https://user:pass@example.com/"}, "webhook"),
        ({"webhook": "https://user@example.com/"}, "webhook"),
        ({"webhook": "https://example.com:0/"}, "webhook"),
        ({"webhook": "https://example.com:99999/"}, "webhook"),
        ({"webhook": "https://exa mple.com/"}, "webhook"),
        ({"webhook": "https://example.com/\n"}, "webhook"),
        ({"webhook": "https://[::1"}, "webhook"),
        ({"webhook": "https://example.com/" + "x" * 2048}, "webhook"),
        ({"webhook": ""}, "webhook"),
        ({"webhookSecret": "x" * 15}, "webhookSecret"),
        ({"webhookSecret": "x" * 257}, "webhookSecret"),
        ({"webhookSecret": "whsec_" + "A" * 28}, "webhookSecret"),
        ({"webhookSecret": "whsec_not base64 not base64 not base64"}, "webhookSecret"),
        ({"webhookSecret": ""}, "webhookSecret"),
        ({"webhookSecret": "a text of sixteen or more"}, "webhookSecret"),  # requires a webhook
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": {}}}, "metadata"),
        ({"metadata": {"a": None}}, "metadata"),
        ({"metadata": {str(n): n for n in range(17)}}, "metadata"),
        ({"metadata": {"a": "x" * 4096}}, "metadata"),
        ({"metadata": {"a": 1e300}}, "metadata"),
        ({"unknown": 1}, "unknown"),
        ({"aspect_ratio": "16:9"}, "aspect_ratio"),
    ],
)
async def test_generate_video_names_the_invalid_field(
    api_once: TestUser, change: dict[str, Any], field: str
) -> None:
    answer = await api_once.http.post(PATH, json={**BODY, **change})

    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "invalid_request"
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_generate_video_lists_the_values_a_model_supports(api_once: TestUser) -> None:
    answer = await api_once.http.post(
        PATH, json={**BODY, "duration": 30, "resolution": "8K", "aspectRatio": "1:100"}
    )

    errors = {error["field"]: error for error in answer.json()["errors"]}
    assert set(errors) == {"duration", "resolution", "aspectRatio"}
    assert 5 in errors["duration"]["allowed"]
    assert "720p" in errors["resolution"]["allowed"]
    assert "16:9" in errors["aspectRatio"]["allowed"]
    unknown = await api_once.http.post(PATH, json={**BODY, "videoModel": "nobody/nothing"})
    assert "bytedance/seedance-1-pro" in unknown.json()["errors"][0]["allowed"]


async def test_generate_video_prompt_of_500_of_any_characters_is_accepted(
    api_once: TestUser,
) -> None:
    for prompt in ("🦀" * 500, " x ", "\u202e‮\ufeff x", "'; DROP TABLE users; --"):
        answer = await api_once.http.post(PATH, json={"prompt": prompt})
        assert answer.status_code == 202, answer.text


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=40)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(
        st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=3
    )
    | st.sampled_from(
        ["720p", "16:9", 5, "https://example.com/", "whsec_" + "A" * 32, "bytedance/seedance-1-pro"]
    )
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    body=st.fixed_dictionaries(
        {}, optional=dict.fromkeys([*FULL, "imageModel", "videoModel", "other"], VALUES)
    )
)
async def test_generate_video_of_any_body_is_accepted_or_a_problem(
    api_once: TestUser, body: dict[str, Any]
) -> None:
    content = json.dumps(body)  # includes NaN and lone surrogates
    answer = await api_once.http.post(
        PATH, content=content, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code in (202, 422), (answer.status_code, content)
    if answer.status_code == 422:
        assert answer.json()["errors"]


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=st.binary(max_size=300))
async def test_generate_video_of_any_bytes_is_a_problem(api_once: TestUser, body: bytes) -> None:
    answer = await api_once.http.post(
        PATH, content=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 422


@pytest.mark.guarantee("G1")
async def test_idempotency_key_replays_byte_for_byte(
    api: Api, user: TestUser, fresh_database: FreshDatabase
) -> None:
    headers = {"Idempotency-Key": "order 1042"}
    first = await user.http.post(PATH, json=FULL, headers=headers)
    again = await user.http.post(PATH, content=json.dumps(FULL, indent=3, sort_keys=True), headers={
        **headers, "Content-Type": "application/json; charset=utf-8"
    })  # fmt: skip

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert again.headers["location"] == first.headers["location"]
    other = await (await api.new_user()).http.post(PATH, json=FULL, headers=headers)
    assert other.json()["executionId"] != first.json()["executionId"]
    assert await _count(fresh_database, "executions") == 2


async def test_idempotency_key_with_another_body_is_a_conflict(
    user: TestUser, fresh_database: FreshDatabase
) -> None:
    headers = {"Idempotency-Key": "k"}
    await user.http.post(PATH, json=BODY, headers=headers)
    other = await user.http.post(PATH, json={**BODY, "duration": 10}, headers=headers)

    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")
    assert await _count(fresh_database, "executions") == 1


async def test_idempotency_key_used_at_once_by_many_is_one_execution(
    user: TestUser, fresh_database: FreshDatabase
) -> None:
    headers = {"Idempotency-Key": "k"}
    answers = await asyncio.gather(
        *(user.http.post(PATH, json=BODY, headers=headers) for _ in range(12))
    )

    accepted = [answer for answer in answers if answer.status_code == 202]
    assert len({answer.content for answer in accepted}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in accepted) == 1
    assert {answer.json()["code"] for answer in answers if answer not in accepted} <= {
        "idempotency_in_progress"
    }
    assert await _count(fresh_database, "executions") == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "tab\there", "é"])
async def test_idempotency_key_that_is_not_printable_is_refused(
    api_once: TestUser, key: str
) -> None:
    answer = await api_once.http.post(
        PATH, json=BODY, headers={b"Idempotency-Key": key.encode("latin-1")}
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


async def test_idempotency_key_of_a_refused_request_is_free_again(api: Api) -> None:
    poor = await api.new_user(UserLimits(monthly_videos=0, monthly_nano_usd=None))
    headers = {"Idempotency-Key": "k"}
    assert (await poor.http.post(PATH, json=BODY, headers=headers)).status_code == 402
    async with api.database.as_system() as conn:
        await conn.execute(
            "UPDATE users SET monthly_videos_limit = 1 WHERE user_id = $1", poor.user_id
        )

    answer = await poor.http.post(PATH, json=BODY, headers=headers)

    assert answer.status_code == 202
    assert "idempotent-replayed" not in answer.headers


@pytest.mark.guarantee("G4")
async def test_concurrent_requests_never_exceed_the_budget(
    api: Api, fresh_database: FreshDatabase
) -> None:
    rich = await api.new_user()
    price = (
        await rich.http.get((await rich.http.post(PATH, json=BODY)).json()["statusUrl"])
    ).json()["cost"]["held"]
    limit = NanoUsd(3 * nano_usd(price) + 1)
    poor = await api.new_user(UserLimits(monthly_videos=None, monthly_nano_usd=limit))

    answers = await asyncio.gather(*(poor.http.post(PATH, json=BODY) for _ in range(10)))

    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [402] * 7
    problem = next(answer.json() for answer in answers if answer.status_code == 402)
    assert (problem["code"], problem["spent"], problem["retryable"]) == (
        "budget_exceeded",
        "0",
        False,
    )
    again = (await poor.http.post(PATH, json=BODY)).json()
    assert datetime.fromisoformat(again["budget"].pop("resetsAt")) == next_month(
        datetime.now(UTC).date()
    )
    assert again["budget"] == {
        "currency": "USD",
        "needed": price,
        "left": usd_text(1),
        "videosLeft": None,
    }
    assert await _count(fresh_database, "executions") == 4


async def test_budget_of_videos_is_held(api: Api) -> None:
    poor = await api.new_user(UserLimits(monthly_videos=1, monthly_nano_usd=None))

    assert (await poor.http.post(PATH, json=BODY)).status_code == 202
    refused = await poor.http.post(PATH, json=BODY)
    assert refused.status_code == 402
    assert refused.json()["budget"]["videosLeft"] == 0


async def test_generate_video_is_accepted_while_temporal_is_down(
    fresh_database: FreshDatabase,
) -> None:
    async with running_api(api_settings(fresh_database, "127.0.0.1:9")) as api:
        user = await api.new_user()
        answer = await user.http.post(PATH, json=BODY)
        read = await user.http.get(answer.json()["statusUrl"])
        ready = await api.http.get("/readyz")

    assert answer.status_code == 202
    assert read.json()["status"] == "queued"
    assert (ready.status_code, ready.json()["temporal"]) == (200, "degraded")


async def _count(database: FreshDatabase, table: str) -> int:
    owner = await asyncpg.connect(database.owner_dsn)
    try:
        count: int = await owner.fetchval(f"SELECT count(*) FROM {table}")
    finally:
        await owner.close()
    return count
