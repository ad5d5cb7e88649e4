"""POST /api/generate-image and its siblings: orders of one step, and their quotes."""

from dataclasses import asdict
from typing import Any

import pytest

from core.domain.ids import new_asset_id
from core.domain.media.containers.facts import MediaFacts
from core.domain.money import nano_usd
from tests.api.conftest import Api, TestUser

IMAGE = {"prompt": "A paper boat", "aspectRatio": "9:16", "seed": 7}
SPEECH = {"text": "It never asks where the wind comes from.", "stability": 0.4}
ORDERS: dict[str, dict[str, Any]] = {"generate-image": IMAGE, "generate-audio": SPEECH}


async def _post(user: TestUser, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = await user.http.post(f"/api/{path}", json=body, headers=headers)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()


async def _errors(user: TestUser, path: str, body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    answer = await user.http.post(f"/api/{path}", json=body)
    assert answer.status_code == 422, answer.text
    return {error["field"]: error for error in answer.json()["errors"]}


@pytest.mark.parametrize("route", ORDERS)
async def test_order_is_accepted_at_the_price_of_its_quote(api_once: TestUser, route: str) -> None:
    quote = await _post(api_once, f"quotes/{route}", ORDERS[route])
    accepted = await _post(api_once, route, {**ORDERS[route], "metadata": {"order": "A"}})

    read = (await api_once.http.get(accepted["statusUrl"])).json()
    assert (read["type"], read["metadata"]) == (route, {"order": "A"})
    (job,), (priced,) = read["jobs"], quote["jobs"]
    assert (job["step"], job["model"]) == (priced["step"], priced["model"])
    assert read["cost"]["estimated"] == quote["worst"]
    assert nano_usd(quote["worst"]) > 0
    listed = (await api_once.http.get("/api/executions", params={"type": route})).json()["data"]
    assert [each["id"] for each in listed] == [accepted["executionId"]]


@pytest.mark.parametrize("route", ORDERS)
async def test_order_is_repeated_safely_under_its_key(api_once: TestUser, route: str) -> None:
    key = {"Idempotency-Key": f"once {route}"}
    first = await _post(api_once, route, ORDERS[route], **key)

    assert await _post(api_once, route, ORDERS[route], **key) == first
    other = await api_once.http.post("/api/generate-video", json={"prompt": "x"}, headers=key)
    assert other.json()["code"] == "idempotency_conflict"


@pytest.mark.parametrize("route", ORDERS)
async def test_order_above_its_max_cost_is_refused(api_once: TestUser, route: str) -> None:
    answer = await api_once.http.post(
        f"/api/{route}", json={**ORDERS[route], "maxCost": "0.000000001"}
    )

    assert (answer.status_code, answer.json()["code"]) == (402, "max_cost_exceeded")


async def test_order_stores_what_it_named(api: Api, user: TestUser) -> None:
    execution_id = (await _post(user, "generate-image", IMAGE))["executionId"]

    async with api.database.as_system() as conn:
        row = await conn.fetchrow(
            "SELECT e.request, s.name, s.parameters FROM executions AS e JOIN steps AS s "
            "USING (execution_id) WHERE e.execution_id = $1",
            execution_id,
        )
    named = {"prompt": "A paper boat", "aspect_ratio": "9:16", "seed": 7}
    assert row is not None
    assert (row["name"], row["request"], row["parameters"]) == ("image", named, named)


async def test_every_field_that_the_model_does_not_take_is_named(api_once: TestUser) -> None:
    errors = await _errors(
        api_once,
        "generate-image",
        {
            "prompt": "A boat",
            "model": "fal-ai/flux/schnell",
            "negativePrompt": "rain",
            "aspectRatio": "1:7",
        },
    )

    assert sorted(errors) == ["aspectRatio", "negativePrompt"]
    assert "16:9" in errors["aspectRatio"]["allowed"]


async def test_transcript_is_priced_by_the_length_of_the_sound(api: Api, user: TestUser) -> None:
    async with api.database.as_user(user.user_id) as conn:
        audio = await conn.fetchval(
            "INSERT INTO assets (asset_id, user_id, kind, object_key, size_bytes, sha256, content_type, media) "
            "VALUES ($1, $2, 'audio', $1, 1, $1, 'x/y', $3) RETURNING asset_id",
            new_asset_id(),
            user.user_id,
            asdict(MediaFacts(duration_seconds=61.0)),
        )
    body = {"source": {"asset": audio}}
    quote = await _post(user, "quotes/transcribe", body)
    read = await user.http.get((await _post(user, "transcribe", body))["statusUrl"])
    assert read.json()["type"] == "transcribe"
    assert nano_usd(read.json()["cost"]["estimated"]) == nano_usd(quote["worst"]) > 0
    by_url = await _post(user, "quotes/transcribe", {"source": {"url": "https://example.com/a"}})
    assert nano_usd(by_url["worst"]) > nano_usd(quote["worst"])


@pytest.mark.parametrize(
    ("route", "change", "field"),
    [
        ("generate-image", {"prompt": " "}, "prompt"),
        ("generate-image", {"model": "unknown"}, "model"),
        ("generate-image", {"duration": 5}, "duration"),
        ("generate-image", {"seed": -1}, "seed"),
        ("generate-image", {"webhook": "http://127.0.0.1/"}, "webhook"),
        ("generate-image", {"image": {"asset": "asset_" + "0" * 32}}, "image"),
        ("generate-image", {"image": {}}, "image"),
        ("transcribe", {"source": {"asset": "asset_" + "0" * 32}}, "source"),
        ("transcribe", {}, "source"),
        ("generate-audio", {"text": ""}, "text"),
        ("generate-audio", {"text": "x", "stability": 2}, "stability"),
    ],
)
async def test_invalid_field_of_an_order_is_named(
    api_once: TestUser, route: str, change: dict[str, Any], field: str
) -> None:
    body = {**ORDERS.get(route, {}), **change}
    assert list(await _errors(api_once, route, body)) == [field]
    assert list(await _errors(api_once, f"quotes/{route}", body)) == [field]
