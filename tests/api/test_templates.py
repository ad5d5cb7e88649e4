"""Templates: stored plans that are checked with every value, priced, and run with values."""

import asyncio
from typing import Any

import pytest

from core.domain.ids import new_template_id
from core.domain.money import nano_usd
from core.domain.plans import parameters_from_json
from core.store import templates
from tests.api.conftest import Api, TestUser
from tests.api.test_variables import SECONDS, TEXT, clip, picture

MODEL = "bytedance/seedance-1-pro"
PLAN: dict[str, Any] = {
    "version": 1,
    "variables": {
        "subject": TEXT,
        "seconds": {**SECONDS, "default": 5},
        "size": {"type": "text", "choices": ["480p", "1080p"], "default": "480p"},
    },
    "steps": [
        picture({"fill": "a {{subject}} at sea"}),
        {
            **clip(
                image={"step": "picture"}, duration={"var": "seconds"}, resolution={"var": "size"}
            ),
            "model": MODEL,
        },
    ],
}


async def created(user: TestUser, plan: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = await user.http.post(
        "/api/templates", json={"name": "film", "plan": plan}, headers=headers
    )
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/api/templates/{answer.json()['id']}"
    return answer.json()


async def errors(user: TestUser, path: str, sent: dict[str, Any]) -> dict[str, tuple[str, str]]:
    answer = await user.http.post(path, json=sent)
    assert answer.status_code == 422, answer.text
    return {error["pointer"]: (error["code"], error["detail"]) for error in answer.json()["errors"]}


async def refused(user: TestUser, variables: dict[str, Any], *steps: Any) -> dict[str, Any]:
    others = {f"a-{step['name']}": {"step": step["name"]} for step in steps[1:]}
    plan = {
        "version": 1,
        "variables": variables,
        "steps": list(steps),
        "result": "picture",
        "outputs": others,
    }
    return await errors(user, "/api/templates", {"name": "film", "plan": plan})


async def test_template_is_priced_by_its_values(user: TestUser) -> None:
    template = await created(user, PLAN)

    async def quoted(**values: object) -> dict[str, Any]:
        sent = {"template": template["id"], "values": {"subject": "kite", **values}}
        answer = await user.http.post("/api/quotes", json=sent)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert template["price"] == {
        "currency": "USD",
        "low": (await quoted(seconds=3))["low"],
        "expected": (await quoted())["expected"],
        "worst": (await quoted(size="1080p"))["worst"],
        "dependsOn": ["seconds", "size"],
    }
    costs = [nano_usd(template["price"][name]) for name in ("low", "expected", "worst")]
    assert costs == sorted(costs)
    assert costs[0] < costs[2]


async def test_template_runs_with_three_sets_of_values(api: Api, user: TestUser) -> None:
    template = await created(user, PLAN)
    for subject in ("kite", "boat", "gull"):
        sent = {"template": template["id"], "values": {"subject": subject, "seconds": 3}}
        answer = await user.http.post("/api/executions", json=sent)
        assert answer.status_code == 202, answer.text
        read = (await user.http.get(answer.json()["statusUrl"])).json()
        assert (read["type"], read["template"]) == ("plan", template["id"])
    async with api.database.as_user(user.user_id) as conn:
        rows = await conn.fetch("SELECT parameters FROM steps WHERE name = 'picture'")
    assert {parameters_from_json(row["parameters"]).values["prompt"] for row in rows} == {
        f"a {subject} at sea" for subject in ("kite", "boat", "gull")
    }


async def test_template_is_read_listed_and_deleted(user: TestUser) -> None:
    first, second = await created(user, PLAN), await created(user, PLAN)
    path = f"/api/templates/{first['id']}"
    read = await user.http.get(path)
    assert read.json() == first
    assert list(read.json()["plan"]) == list(PLAN)
    assert read.json()["plan"] == PLAN

    page = (await user.http.get("/api/templates", params={"limit": 1})).json()
    assert [item["id"] for item in page["data"]] == [second["id"]]
    assert "plan" not in page["data"][0]
    cursor = {"cursor": page["nextCursor"]}
    page = (await user.http.get("/api/templates", params=cursor)).json()
    assert ([item["id"] for item in page["data"]], page["nextCursor"]) == ([first["id"]], None)

    assert (await user.http.delete(path)).status_code == 204
    assert (await user.http.delete(path)).status_code == 404
    assert (await user.http.get(path)).status_code == 404
    sent = {"template": first["id"], "values": {"subject": "kite"}}
    assert await errors(user, "/api/executions", sent) == {
        "/template": ("unknown_template", "is not one of your templates")
    }


async def test_accepted_order_is_replayed_after_its_template_is_deleted(user: TestUser) -> None:
    template = await created(user, PLAN)
    sent = {"template": template["id"], "values": {"subject": "kite"}}
    key = {"Idempotency-Key": "one"}
    first = await user.http.post("/api/executions", json=sent, headers=key)
    assert (await user.http.delete(f"/api/templates/{template['id']}")).status_code == 204
    again = await user.http.post("/api/executions", json=sent, headers=key)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_template_is_created_once_under_a_key(user: TestUser) -> None:
    key = {"Idempotency-Key": "one"}
    first, again = await created(user, PLAN, **key), await created(user, PLAN, **key)
    assert first == again
    sent = {"name": "another", "plan": PLAN}
    other = await user.http.post("/api/templates", json=sent, headers=key)
    assert other.json()["code"] == "idempotency_conflict"
    listed = (await user.http.get("/api/templates")).json()["data"]
    assert [item["id"] for item in listed] == [first["id"]]


async def test_every_value_that_a_step_does_not_take_is_named(api_once: TestUser) -> None:
    found = await refused(
        api_once,
        {
            "seconds": {"type": "integer", "choices": [5, 31]},
            "length": {"type": "integer", "minimum": 3, "maximum": 40, "default": 5},
            "shape": {"type": "text", "maxLength": 9, "default": "16:9"},
        },
        picture(aspectRatio={"var": "shape"}),
        clip(image={"step": "picture"}, duration={"var": "seconds"}),
        {**clip(duration={"var": "length"}), "name": "other"},
    )
    assert set(found) == {
        "/plan/variables/seconds/choices/1",
        "/plan/variables/length/maximum",
        "/plan/variables/shape/maxLength",
        "/plan/variables/shape/minLength",
    }
    assert "with 31: " in found["/plan/variables/seconds/choices/1"][1]
    assert "with a text of 9 characters: " in found["/plan/variables/shape/maxLength"][1]


async def test_plan_without_a_valid_value_is_refused_once(api_once: TestUser) -> None:
    found = await refused(
        api_once,
        {"logo": {"type": "video"}, "shape": {"type": "text", "choices": ["7:1", "16:9"]}},
        picture(aspectRatio={"var": "shape"}),
        clip(image={"var": "logo"}),
    )
    assert set(found) == {"/plan/variables/logo", "/plan/variables/shape"}


async def test_variable_of_a_template_needs_limits(api_once: TestUser) -> None:
    found = await refused(
        api_once,
        {
            "a": {"type": "text"},
            "b": {"type": "integer", "minimum": 3},
            "c": {"type": "number", "default": 2},
            **{
                f"d{number}": {"type": "integer", "choices": list(range(20))} for number in range(6)
            },
        },
        picture({"fill": "{{a}} {{b}} {{c}} {{d0}} {{d1}} {{d2}} {{d3}} {{d4}} {{d5}}"}),
    )
    assert {pointer: code for pointer, (code, _) in found.items()} == {
        "/plan/variables/a": "missing",
        "/plan/variables/b": "missing",
        "/plan/variables/c": "missing",
        "/plan/variables": "out_of_range",
    }


async def test_errors_of_a_run_are_named_at_its_values(user: TestUser) -> None:
    template = await created(user, PLAN)
    sent = {"template": template["id"], "values": {"seconds": 4, "sise": "480p"}}
    found = await errors(user, "/api/executions", sent)
    assert {pointer: code for pointer, (code, _) in found.items()} == {
        "/values/subject": "missing",
        "/values/seconds": "not_supported",
        "/values/sise": "unknown_variable",
    }
    assert "did you mean 'size'?" in found["/values/sise"][1]


async def test_change_of_the_catalogue_is_named_at_the_template(api: Api, user: TestUser) -> None:
    plan = {"version": 1, "steps": [picture()]}
    template = await created(user, plan)
    async with api.database.as_user(user.user_id) as conn:
        await templates.delete_template(conn, user.user_id, template["id"])
        await templates.insert_template(
            conn,
            user.user_id,
            template["id"],
            name="old",
            plan={**plan, "steps": [{**picture(), "model": "gone"}]},
            price=templates.PriceRange(
                low_nano_usd=nano_usd("0"),
                expected_nano_usd=nano_usd("0"),
                worst_nano_usd=nano_usd("0"),
                variables=(),
            ),
        )
    found = await errors(user, "/api/executions", {"template": template["id"]})
    ((pointer, (code, detail)),) = found.items()
    assert (pointer, code) == ("/template", "unknown_model")
    assert detail.startswith("plan/steps/0/model: ")


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"plan": {"version": 1, "steps": [picture()]}, "template": new_template_id()},
        {"template": "tpl_1"},
        {"template": new_template_id(), "values": {"a": [1]}},
        {"template": new_template_id(), "values": 5},
    ],
)
async def test_body_has_either_a_plan_or_a_template(
    api_once: TestUser, sent: dict[str, Any]
) -> None:
    answer = await api_once.http.post("/api/executions", json=sent)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), answer.text


async def test_crowd_cannot_store_more_templates_than_allowed(
    api: Api, user: TestUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "MAX_TEMPLATES", 3)
    sent = {"name": "film", "plan": {"version": 1, "steps": [picture()]}}
    answers = await asyncio.gather(*(user.http.post("/api/templates", json=sent) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [422] * 3
    listed = (await user.http.get("/api/templates")).json()["data"]
    assert len(listed) == 3
