"""Variables of plans: their values in the steps, and every error at the value that causes it."""

from typing import Any

import pytest
from jsonschema_rs import validator_for

from api.orders.variables.substitution import MAX_FILLED, fill_plan
from core.domain.ids import ExecutionId, new_asset_id
from core.domain.plans import parameters_from_json
from tests.api.conftest import Api, TestUser

TEXT: dict[str, Any] = {"type": "text", "maxLength": 100}
SECONDS: dict[str, Any] = {"type": "integer", "choices": [3, 5], "default": 3}
FLUX = "fal-ai/flux/schnell"


def picture(prompt: object = "a kite", **params: object) -> dict[str, Any]:
    return {
        "name": "picture",
        "kind": "image",
        "model": FLUX,
        "params": {"prompt": prompt, **params},
    }


def clip(**params: object) -> dict[str, Any]:
    return {"name": "clip", "kind": "video", "params": {"prompt": "it dances", **params}}


def body(
    variables: dict[str, Any], *steps: dict[str, Any], values: dict[str, Any] | None = None
) -> dict[str, Any]:
    plan = {"version": 1, "variables": variables, "steps": list(steps)}
    return {"plan": plan} if values is None else {"plan": plan, "values": values}


async def errors(user: TestUser, sent: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the code and the detail of each error by its pointer."""
    answer = await user.http.post("/api/executions", json=sent)
    assert answer.status_code == 422, answer.text
    quoted = await user.http.post("/api/quotes/executions", json=sent)
    assert quoted.json()["errors"] == answer.json()["errors"]
    return {error["pointer"]: (error["code"], error["detail"]) for error in answer.json()["errors"]}


async def test_values_and_defaults_are_what_the_steps_get(api: Api, user: TestUser) -> None:
    sent = body(
        {
            "subject": {**TEXT, "description": "who flies"},
            "seconds": SECONDS,
            "seed": {"type": "integer"},
            "share": {"type": "number", "default": 0.5},
        },
        picture({"fill": "a {{subject}}, {{seconds}} times, {{share}}"}),
        clip(image={"step": "picture"}, duration={"var": "seconds"}, seed={"var": "seed"}),
        values={"subject": "{{kite}}", "seed": 9},
    )
    quote = await user.http.post("/api/quotes/executions", json=sent)
    assert quote.status_code == 200, quote.text
    answer = await user.http.post("/api/executions", json=sent)
    assert answer.status_code == 202, answer.text

    read = (await user.http.get(answer.json()["statusUrl"])).json()
    assert (read["cost"]["estimated"], read["template"]) == (quote.json()["worst"], None)
    async with api.database.as_user(user.user_id) as conn:
        rows = await conn.fetch("SELECT name, parameters FROM steps")
    stored = {row["name"]: parameters_from_json(row["parameters"]).values for row in rows}
    assert stored["picture"]["prompt"] == "a {{kite}}, 3 times, 0.5"
    assert (stored["clip"]["duration_seconds"], stored["clip"]["seed"]) == (3, 9)
    assert ExecutionId(read["id"])


async def test_every_error_of_variables_is_named_at_once(api_once: TestUser) -> None:
    found = await errors(
        api_once,
        body(
            {
                "subject": TEXT,
                "style": {**TEXT, "default": "x" * 101},
                "count": {"type": "integer", "minimum": 5, "maximum": 3},
                "shape": {"type": "text", "choices": ["a", "a"], "maxLength": 3},
                "flag": {"type": "boolean", "default": True},
                "logo": {"type": "image"},
                "wrong": {"type": "word"},
                "unused": {"type": "text", "default": "x"},
            },
            picture(
                {"fill": "{{subject}} {{stile}}"}, a={"var": "nothing"}, b={"fill": "{{flag}}"}
            ),
            clip(
                x=[{"var": "shape"}], duration={"var": "count"}, image={"var": "logo"},
                y={"var": "wrong"}, z={"var": "style"}, k={"fill": "{{ subject }}"},
                m={"var": 5}, n={"fill": 5},
            ),
            values={"logo": {"asset": new_asset_id(), "optional": True}, "size": 3, "flag": 1},
        ),
    )  # fmt: skip
    assert {pointer: code for pointer, (code, _) in found.items()} == {
        "/values/subject": "missing",
        "/values/size": "unknown_variable",
        "/values/flag": "invalid",
        "/values/logo": "invalid",
        "/plan/variables/style/default": "too_long",
        "/plan/variables/count/minimum": "invalid",
        "/plan/variables/shape/maxLength": "invalid",
        "/plan/variables/shape/choices": "invalid",
        "/plan/variables/wrong": "invalid",
        "/plan/variables/unused": "unused_variable",
        "/plan/steps/0/params/prompt": "unknown_variable",
        "/plan/steps/0/params/a": "unknown_variable",
        "/plan/steps/0/params/b": "invalid",
        "/plan/steps/1/params/k": "invalid",
        "/plan/steps/1/params/m": "invalid",
        "/plan/steps/1/params/n": "invalid",
        "/plan/steps/1/params/x": "invalid",
        "/values/count": "missing",
        "/values/shape": "missing",
    }
    assert "did you mean 'style'?" in found["/plan/steps/0/params/prompt"][1]


@pytest.mark.parametrize(
    ("declared", "value", "code"),
    [
        ({"type": "text", "maxLength": 3}, "four", "too_long"),
        ({"type": "text", "minLength": 3}, "no", "out_of_range"),
        ({"type": "text"}, "", "out_of_range"),
        ({"type": "text"}, 5, "invalid"),
        ({"type": "text", "choices": ["a", "b"]}, "c", "not_supported"),
        ({"type": "integer", "minimum": 2}, 1, "out_of_range"),
        ({"type": "integer"}, 1.5, "invalid"),
        ({"type": "integer"}, True, "invalid"),
        ({"type": "number", "maximum": 2.5}, 3, "out_of_range"),
        ({"type": "number"}, "3", "invalid"),
        ({"type": "boolean"}, "true", "invalid"),
        ({"type": "video"}, "https://example.com/a.mp4", "invalid"),
        ({"type": "video"}, {"url": "ftp://example.com/a.mp4"}, "invalid"),
        ({"type": "audio"}, {"asset": "asset_1"}, "unknown_asset"),
        ({"type": "audio"}, None, "invalid"),
    ],
)  # fmt: skip
def test_value_outside_its_declaration_is_refused(
    declared: dict[str, Any], value: object, code: str
) -> None:
    plan = body({"x": declared}, picture({"var": "x"}))["plan"]
    (fault,) = fill_plan(plan, {"x": value}).faults
    assert (fault.field, fault.code) == ("values/x", code)
    if code in ("too_long", "out_of_range", "not_supported"):
        plan["variables"] = {"x": {**declared, "default": value}}
        (fault,) = fill_plan(plan, {}).faults
        assert (fault.field, fault.code) == ("plan/variables/x/default", code)


async def test_model_limits_are_reported_at_the_value(api_once: TestUser) -> None:
    steps = (
        picture({"fill": "{{a}} {{b}}"}, aspectRatio={"var": "shape"}),
        clip(image={"step": "picture"}, duration={"var": "seconds"}),
    )
    variables = {
        "a": {"type": "text"},
        "b": {"type": "text"},
        "shape": {"type": "text", "default": "7:1"},
        "seconds": {"type": "integer"},
    }
    found = await errors(
        api_once, body(variables, *steps, values={"a": "x", "b": "y", "seconds": 31})
    )
    assert set(found) == {"/values/seconds", "/plan/variables/shape/default"}
    assert "(used at plan/steps/1/params/duration)" in found["/values/seconds"][1]


async def test_file_must_be_of_the_declared_kind(api_once: TestUser) -> None:
    unknown = {"asset": new_asset_id()}
    film = {
        "name": "film",
        "kind": "merge",
        "params": {"items": [{"media": {"step": "clip"}}, {"media": {"var": "music"}}]},
    }
    sent = body({"music": {"type": "audio"}}, clip(), film, values={"music": unknown})
    assert await errors(api_once, sent) == {
        "/values/music": (
            "unknown_asset",
            "is not one of your assets (used at plan/steps/1/params/items/1/media)",
        )
    }
    poster = {"name": "cover", "kind": "poster", "params": {"source": {"var": "music"}}}
    sent = body(
        {"music": {"type": "audio"}},
        poster,
        values={"music": {"url": "https://example.com/a.mp3"}},
    )
    quoted = await api_once.http.post("/api/quotes/executions", json=sent)
    (error,) = quoted.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/values/music", "wrong_media")


async def test_schema_of_plans_allows_variables_in_params(api_once: TestUser) -> None:
    schema = (await api_once.http.get("/api/plans/schema")).json()
    sent = body(
        {
            "seconds": SECONDS,
            "subject": TEXT,
            "music": {"type": "audio"},
            "loud": {"type": "number"},
        },
        picture({"fill": "a {{subject}}"}),
        clip(duration={"var": "seconds"}, image={"step": "picture"}),
        {
            "name": "film",
            "kind": "merge",
            "params": {
                "items": [
                    {"media": {"step": "clip"}, "volume": {"var": "loud"}},
                    {"media": {"var": "music"}},
                    {"media": {"url": {"fill": "https://example.com/{{subject}}.mp3"}}},
                ],
                "fit": {"var": "subject"},
            },
        },
    )
    assert validator_for(schema).is_valid(sent["plan"])
    sent["plan"]["steps"][2]["params"]["items"][0]["media"] = {"step": {"var": "subject"}}
    assert not validator_for(schema).is_valid(sent["plan"])
    sent["plan"]["steps"][2]["params"]["items"][0]["media"] = {"var": "No"}
    assert not validator_for(schema).is_valid(sent["plan"])


def test_values_do_not_blow_up_a_plan() -> None:
    long = "x" * 20_000
    plan = body({"x": {"type": "text"}}, *[picture({"fill": "{{x}}" * 10})] * 3)["plan"]
    filled = fill_plan(plan, {"x": long})
    (fault,) = filled.faults
    assert (fault.field, fault.code) == ("plan/steps/1/params/prompt", "too_long")
    steps: Any = filled.plan
    assert sum(len(step["params"]["prompt"] or "") for step in steps["steps"]) <= MAX_FILLED


def test_plan_without_variables_is_read_as_it_is() -> None:
    steps: list[Any] = [picture("{{a}}"), {"params": [[[]]]}, 5]
    plan = {"version": 1, "steps": steps, "variables": 7}
    assert fill_plan(plan, None).plan == plan
    assert fill_plan("plan", {}).plan == "plan"
