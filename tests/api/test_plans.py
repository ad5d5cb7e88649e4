"""POST /api/executions: plans of the user's own, accepted whole or refused with every error."""

import json
from copy import deepcopy
from typing import Any

import pytest
from jsonschema_rs import validator_for

from core.domain.ids import ExecutionId, new_asset_id
from core.domain.money import nano_usd
from core.domain.plans import (
    OperationKind,
    Parameters,
    StepOutput,
    parameters_from_json,
    plan_from_json,
)
from tests.api.conftest import Api, TestUser

FLUX, SEEDANCE = "fal-ai/flux/schnell", "bytedance/seedance-1-pro"
PICTURE: dict[str, Any] = {
    "name": "picture",
    "kind": "image",
    "model": FLUX,
    "params": {"prompt": "a kite", "aspectRatio": "16:9"},
}
CLIP: dict[str, Any] = {
    "name": "clip",
    "kind": "video",
    "params": {"prompt": "it dances", "image": {"step": "picture"}, "duration": 3, "seed": 9},
}


def _plan(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"plan": {"version": 1, "steps": list(steps), **more}}


async def _errors(user: TestUser, body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    answer = await user.http.post("/api/executions", json=body)
    assert answer.status_code == 422, answer.text
    for route in ("/api/quotes", "/api/quotes/executions"):
        quoted = await user.http.post(route, json=body)
        assert quoted.json()["errors"] == answer.json()["errors"]
    return {error["field"]: error for error in answer.json()["errors"]}


async def test_plan_is_stored_in_the_order_of_its_steps(api: Api, user: TestUser) -> None:
    body = {**_plan(CLIP, PICTURE), "maxCost": "1"}
    quote = (await user.http.post("/api/quotes", json=body)).json()
    answer = await user.http.post("/api/executions", json=body)
    assert answer.status_code == 202, answer.text
    execution_id = ExecutionId(answer.json()["executionId"])

    read = (await user.http.get(answer.json()["statusUrl"])).json()
    assert read["type"] == "plan"
    assert nano_usd(read["cost"]["estimated"]) == nano_usd(quote["worst"]) > 0
    assert [job["step"] for job in read["jobs"]] == ["picture", "clip"]
    async with api.database.as_user(user.user_id) as conn:
        row = await conn.fetchrow("SELECT plan FROM executions")
        parameters = await conn.fetchval("SELECT parameters FROM steps WHERE name = 'clip'")
    assert row is not None
    plan = plan_from_json(row["plan"])
    assert [(step.name, step.needs) for step in plan.steps] == [
        ("picture", ()),
        ("clip", ("picture",)),
    ]
    assert (plan.result_step, plan.steps[1].model) == ("clip", SEEDANCE)
    assert parameters_from_json(parameters) == Parameters(
        values={
            "prompt": "it dances",
            "duration_seconds": 3,
            "seed": 9,
            "resolution": "720p",
            "aspect_ratio": "16:9",
        },
        sources={"image": StepOutput(step="picture")},
    )
    described = await api.services.temporal.get_workflow_handle(execution_id).describe()
    assert described.workflow_type == "execution"


async def test_every_error_of_a_plan_is_named_with_its_path(api_once: TestUser) -> None:
    clip = deepcopy(CLIP)
    clip["params"] |= {"duration": 31, "resolution": "9k", "image": {"step": "picture"}}
    found = await _errors(
        api_once,
        _plan(
            {**PICTURE, "params": {"aspectRatio": "1:7", "scale": 2}},
            clip,
            {**CLIP, "name": "other", "params": {"prompt": "x", "image": {"step": "pictre"}}},
            {**CLIP, "name": "third", "model": FLUX},
            {**PICTURE, "needs": ["nothing"]},
            {**CLIP, "name": "film", "params": {"prompt": "x", "image": {"step": "clip"}}},
            {**PICTURE, "name": "foreign", "params": {"prompt": 5}},
            result="nowhere",
        ),
    )

    assert set(found) == {
        "plan/steps/0/params/aspectRatio",
        "plan/steps/0/params/prompt",
        "plan/steps/0/params/scale",
        "plan/steps/1/params/duration",
        "plan/steps/1/params/resolution",
        "plan/steps/2/params/image",
        "plan/steps/3/model",
        "plan/steps/4/name",
        "plan/steps/4/needs",
        "plan/steps/5/params/image",
        "plan/steps/6/params/prompt",
        "plan/result",
    }
    assert 12 in found["plan/steps/1/params/duration"]["allowed"]
    assert "picture" in found["plan/steps/2/params/image"]["allowed"]
    assert found["plan/steps/5/params/image"]["detail"] == "must be an image, not a video"


async def test_plan_with_a_circle_is_refused(api_once: TestUser) -> None:
    found = await _errors(
        api_once, _plan({**PICTURE, "needs": ["clip"]}, CLIP, {**PICTURE, "name": "free"})
    )

    assert list(found) == ["plan/steps/0/needs"]
    assert "circle" in found["plan/steps/0/needs"]["detail"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"version": 2}, "plan/version"),
        ({"steps": []}, "plan/steps"),
        ({"steps": [{**PICTURE, "name": f"step-{n}"} for n in range(51)]}, "plan/steps"),
        ({"steps": [{**PICTURE, "name": "Picture"}]}, "plan/steps/0/name"),
        ({"steps": [{**PICTURE, "kind": "film"}]}, "plan/steps/0/kind"),
        ({"steps": [{**PICTURE, "retry": True}]}, "plan/steps/0/retry"),
        ({"steps": [{**PICTURE, "params": {"prompt": None}}]}, "plan/steps/0/params/prompt"),
        ({"steps": [{**PICTURE, "params": {"prompt": ["x"]}}]}, "plan/steps/0/params/prompt"),
        ({"steps": [{**PICTURE, "params": {"seed": 10**17}}]}, "plan/steps/0/params/seed"),
        (
            {"steps": [{**PICTURE, "params": {"image": {"step": "a", "asset": "b"}}}]},
            "plan/steps/0/params/image",
        ),
        ({"steps": [{**PICTURE, "params": {"durationSeconds": 5, "prompt": "x"}}]}, None),
        ({"jobs": []}, "plan/jobs"),
    ],
)
async def test_invalid_part_of_a_plan_is_named(
    api_once: TestUser, change: dict[str, Any], field: str | None
) -> None:
    body = _plan(PICTURE)
    body["plan"] |= change

    assert field in {*await _errors(api_once, body), None}


async def test_foreign_asset_of_a_plan_is_an_unknown_one(api_once: TestUser) -> None:
    asset = {"asset": new_asset_id()}
    found = await _errors(
        api_once, _plan({**CLIP, "params": {"prompt": "x", "image": asset}, "model": SEEDANCE})
    )

    assert list(found) == ["plan/steps/0/params/image"]


async def test_quote_of_alternatives_is_the_worst_of_them(user: TestUser) -> None:
    other = "fal-ai/nano-banana"
    bare = {**PICTURE, "model": None}
    quotes = {
        name: (await user.http.post("/api/quotes", json=_plan(step))).json()["worst"]
        for name, step in {
            FLUX: {**PICTURE, "model": FLUX},
            other: {**PICTURE, "model": other},
            "both": {**bare, "models": [FLUX, other]},
        }.items()
    }
    assert nano_usd(quotes["both"]) == nano_usd(quotes[other]) > nano_usd(quotes[FLUX])
    twice = await _errors(user, _plan({**bare, "models": [FLUX, FLUX]}))
    assert twice["plan/steps/0/models"]["detail"] == "names a model twice"
    both = await user.http.post("/api/executions", json=_plan({**PICTURE, "models": [FLUX, other]}))
    assert both.status_code == 422


FILM: dict[str, Any] = {
    "name": "film",
    "kind": "trim",
    "params": {"source": {"step": "clip"}, "end": 2.5},
}
COVER: dict[str, Any] = {
    "name": "cover",
    "kind": "poster",
    "params": {"source": {"step": "film", "output": "video"}},
}


async def test_media_steps_are_quoted_free_with_their_lengths(user: TestUser) -> None:
    outputs = {"cover": {"step": "cover"}}
    body = _plan(PICTURE, CLIP, FILM, COVER, outputs=outputs)
    quote = (await user.http.post("/api/quotes", json=body)).json()
    jobs = {job["step"]: job for job in quote["jobs"]}

    assert [jobs[name]["provider"] for name in ("film", "cover")] == ["media", "media"]
    assert nano_usd(jobs["film"]["worst"]) == 0
    assert jobs["film"]["outputSeconds"] == {"low": 2.5, "expected": 2.5, "worst": 2.5}
    assert jobs["cover"]["outputSeconds"] is None
    assert (jobs["clip"]["reuse"], jobs["film"]["reuse"]) == ("no", "unknown")
    assert quote["etaSeconds"] == sum(job["seconds"] for job in quote["jobs"])
    dear = await user.http.post("/api/quotes", json={**body, "maxCost": "0.001"})
    assert (dear.status_code, dear.json()["code"]) == (402, "max_cost_exceeded")


async def test_deadline_of_a_step_is_at_most_its_default(api: Api, user: TestUser) -> None:
    limited = [{**step, "deadlineSeconds": 20} for step in (PICTURE, CLIP, FILM)]
    answer = await user.http.post("/api/executions", json=_plan(*limited))
    assert answer.status_code == 202, answer.text
    async with api.database.as_user(user.user_id) as conn:
        plan = plan_from_json(await conn.fetchval("SELECT plan FROM executions"))
    assert {step.deadline_seconds for step in plan.steps} == {20}
    long = [{**step, "deadlineSeconds": 86_400} for step in (PICTURE, CLIP, FILM)]
    found = await _errors(user, _plan(*long))
    assert {field: error["code"] for field, error in found.items()} == {
        f"plan/steps/{place}/deadlineSeconds": "out_of_range" for place in range(3)
    }


async def test_accepted_plan_keeps_its_media_steps_and_outputs(api: Api, user: TestUser) -> None:
    outputs = {"cover": {"step": "cover"}}
    body = _plan(COVER, FILM, CLIP, PICTURE, result="film", outputs=outputs)
    answer = await user.http.post("/api/executions", json=body)
    assert answer.status_code == 202, answer.text
    async with api.database.as_user(user.user_id) as conn:
        plan = plan_from_json(await conn.fetchval("SELECT plan FROM executions"))
        stored = await conn.fetchval("SELECT parameters FROM steps WHERE name = 'film'")
    assert (plan.result_step, plan.outputs) == ("film", {"cover": StepOutput(step="cover")})
    assert [step.name for step in plan.steps if step.is_media] == ["film", "cover"]
    parameters = parameters_from_json(stored)
    assert parameters.sources == {"source": StepOutput(step="clip")}
    assert parameters.operation is not None
    assert parameters.operation["end"] == 2.5


async def test_faults_of_media_steps_have_pointers_and_codes(api_once: TestUser) -> None:
    found = await _errors(
        api_once,
        _plan(
            PICTURE,
            {**FILM, "params": {"source": {"step": "picture"}}},
            {**COVER, "params": {"source": {"asset": new_asset_id()}}},
        ),
    )
    film = found["plan/steps/1/params/source"]
    assert (film["code"], film["pointer"]) == ("wrong_media", "/plan/steps/1/params/source")
    assert found["plan/steps/2/params/source"]["code"] == "unknown_asset"


async def test_schema_of_plans_fits_plans_and_names_operations(api_once: TestUser) -> None:
    schema = (await api_once.http.get("/api/plans/schema")).json()
    kinds = {kind for kind in OperationKind if f'"const": "{kind}"' in json.dumps(schema)}
    assert kinds == set(OperationKind)
    validator = validator_for(schema)
    assert validator.is_valid(_plan(PICTURE, CLIP, FILM, COVER)["plan"])
    wrong = {**FILM, "params": {**FILM["params"], "end": -1}}
    assert not validator.is_valid(_plan(PICTURE, CLIP, wrong)["plan"])
