"""Quotes equal the hold of the same request, and the catalogue matches both."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from core.domain.money import nano_usd
from core.domain.plans import StepKind
from core.providers.models import Model
from core.providers.pricing import entry
from core.providers.vendors.fal.adapter import FalProvider
from tests.api.conftest import Api, TestUser, api_settings, running_api
from tests.support.servers import FreshDatabase

QUOTES, VIDEOS, MODELS = "/api/quotes", "/api/generate-video", "/api/models"
BODY = {"prompt": "A paper boat"}


async def quoted(user: TestUser, body: dict[str, Any]) -> dict[str, Any]:
    answer = await user.http.post(QUOTES, json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def catalogue(user: TestUser) -> list[dict[str, Any]]:
    answer = await user.http.get(MODELS)
    assert answer.status_code == 200, answer.text
    models: list[dict[str, Any]] = answer.json()["data"]
    return models


def ids(models: list[dict[str, Any]], kind: str) -> list[str]:
    """Return the models of a kind that `generate-video` can name."""
    return [model["id"] for model in models if model["kind"] == kind and _fits(model)]


def _fits(model: dict[str, Any]) -> bool:
    files = {"image"} if model["kind"] == "video" else set[str]()
    taken = {item["name"]: item for item in model["inputs"] if item["type"] in FILES}
    required = {name for name, item in taken.items() if item["required"]}
    return required <= files <= taken.keys()


FILES = {"image", "video", "audio"}


def total(quote: dict[str, Any], part: str) -> int:
    return sum(nano_usd(job[part]) for job in quote["jobs"])


@pytest.mark.guarantee("G3")
async def test_quote_equals_the_hold_for_every_model(api: Api, user: TestUser) -> None:
    models = await catalogue(user)
    bodies = [{**BODY, "imageModel": model} for model in ids(models, "image")]
    for model in models:
        if model["kind"] == "video" and _fits(model):
            limits = model["limits"]
            bodies += [
                {
                    **BODY,
                    "videoModel": model["id"],
                    **({"duration": limits["durations"][end]} if limits["durations"] else {}),
                    **({"resolution": limits["resolutions"][end]} if limits["resolutions"] else {}),
                }
                for end in (0, -1)
            ]
    assert len(bodies) >= 7 + 2 * 10
    for body in bodies:
        quote = await quoted(user, body)
        begun = (await user.http.post(VIDEOS, json=body)).json()
        cost = (await user.http.get(begun["statusUrl"])).json()
        held = {
            job["step"]: (job["provider"], job["model"], job["cost"]["held"])
            for job in cost["jobs"]
        }
        assert held == {
            job["step"]: (job["provider"], job["model"], job["worst"]) for job in quote["jobs"]
        }, body
        assert quote["worst"] == cost["cost"]["held"] == cost["cost"]["estimated"]
        for part in ("low", "expected", "worst"):
            assert nano_usd(quote[part]) == total(quote, part)
        assert 0 < nano_usd(quote["low"]) <= nano_usd(quote["expected"]) <= nano_usd(quote["worst"])
    async with api.database.as_system() as conn:
        rows = await conn.fetch("SELECT price, held_nano_usd FROM charges")
    assert len(rows) == 2 * len(bodies)
    assert all(row["price"]["unit_nano_usd"] and row["price"]["read_on"] for row in rows)


async def test_quote_starts_and_spends_nothing(
    api: Api, user: TestUser, fresh_database: FreshDatabase
) -> None:
    for body in (
        BODY,
        {**BODY, "maxCost": "0.000001"},
        {
            **BODY,
            "webhook": "https://example.com/",
            "webhookSecret": "a text of sixteen or more",
            "metadata": {"a": 1},
        },
    ):
        await quoted(user, body)
    answer = await user.http.post(QUOTES, json=BODY, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 200
    owner = await asyncpg.connect(fresh_database.owner_dsn)
    try:
        for table in ("executions", "charges", "ledger_entries", "budgets", "idempotency_keys"):
            assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    finally:
        await owner.close()


async def test_quote_returns_unit_and_price(api_once: TestUser) -> None:
    quote = await quoted(
        api_once,
        {**BODY, "videoModel": "bytedance/seedance-1-pro", "duration": 10, "resolution": "1080p"},
    )
    video = quote["jobs"][1]
    assert (video["step"], video["unit"], video["unitPrice"], video["worst"]) == (
        "video",
        "second",
        "0.15",
        "1.5",
    )
    assert (quote["currency"], video["readOn"][:2]) == ("USD", "20")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"duration": 30}, "duration"),
        ({"resolution": "8K"}, "resolution"),
        ({"videoModel": "nobody/nothing"}, "videoModel"),
        ({"webhookSecret": "a text of sixteen or more"}, "webhookSecret"),
        ({"unknown": 1}, "unknown"),
    ],
)
async def test_quote_refuses_the_same_invalid_fields(
    api_once: TestUser, change: dict[str, Any], field: str
) -> None:
    refused = await api_once.http.post(QUOTES, json={**BODY, **change})
    real = await api_once.http.post(VIDEOS, json={**BODY, **change})
    assert refused.status_code == real.status_code == 422
    assert refused.json()["errors"] == real.json()["errors"]
    assert [error["field"] for error in refused.json()["errors"]] == [field]


@pytest.mark.parametrize(("method", "path"), [("POST", QUOTES), ("GET", MODELS)])
async def test_prices_need_a_key(shared_api: Api, method: str, path: str) -> None:
    assert (await shared_api.http.request(method, path, json=BODY)).status_code == 401


async def test_catalogue_lists_the_declared_models(shared_api: Api, api_once: TestUser) -> None:
    models = await catalogue(api_once)
    providers = shared_api.services.providers
    declared = [pair for kind in StepKind for pair in providers.models(kind)]
    assert [(model["provider"], model["id"]) for model in models] == [
        (provider.name, model.id) for provider, model in declared
    ]
    for listed_model, (_, model) in zip(models, declared, strict=True):
        assert listed_model["limits"]["durations"] == list(model.choices("duration_seconds"))
        assert listed_model["limits"]["resolutions"] == list(model.choices("resolution"))
        assert listed_model["limits"]["aspectRatios"] == list(model.choices("aspect_ratio"))
        assert {item["name"] for item in listed_model["inputs"]} >= {
            "prompt"
        } or model.kind not in (
            StepKind.IMAGE,
            StepKind.VIDEO,
        )
        assert len(listed_model["inputs"]) == len(model.inputs)
        assert [price["unitPrice"] for price in listed_model["prices"]] == [
            price.unit_usd_text for price in model.prices
        ]
        assert all(
            price["source"] and price["readOn"] and price["unit"]
            for price in listed_model["prices"]
        )


async def test_catalogue_defaults_apply_to_a_bare_request(api_once: TestUser) -> None:
    models = await catalogue(api_once)
    default = {model["kind"]: model for model in models if model["default"]}
    assert set(default) == {kind.value for kind in StepKind}
    assert len([model for model in models if model["default"]]) == len(StepKind)
    for video in (model for model in models if model["id"] in ids(models, "video")):
        defaults = {name: value for name, value in video["defaults"].items() if value is not None}
        open_quote = await quoted(api_once, {**BODY, "videoModel": video["id"]})
        assert open_quote == await quoted(
            api_once,
            {**BODY, **defaults, "videoModel": video["id"], "imageModel": default["image"]["id"]},
        )
    assert [job["model"] for job in (await quoted(api_once, BODY))["jobs"]] == [
        default["image"]["id"],
        default["video"]["id"],
    ]


@pytest.fixture
async def unpriced(fresh_database: FreshDatabase) -> AsyncGenerator[tuple[TestUser, FalProvider]]:
    """Start an API where fal's image model has no price and its video model only one for 720p."""
    async with running_api(api_settings(fresh_database, "127.0.0.1:9")) as api:
        fal = api.services.providers.provider("fal")
        assert isinstance(fal, FalProvider)
        image_model, video = (_model(fal, model) for model in (IMAGE_MODEL, VIDEO_MODEL))
        fal.models = (replace(image_model, prices=()), _at_720p(video))
        user = await api.new_user()
        async with user.http:
            yield user, fal


IMAGE_MODEL = "fal-ai/flux/schnell"
VIDEO_MODEL = "fal-ai/bytedance/seedance/v1/pro/image-to-video"


def _model(provider: FalProvider, model_id: str) -> Model:
    return next(model for model in provider.models if model.id == model_id)


def _at_720p(model: Model) -> Model:
    return replace(
        model,
        prices=(entry(model.prices[0].unit, 2_500, "a page", "2026-11-01", resolution="720p"),),
    )


@pytest.mark.guarantee("G3")
async def test_model_without_a_price_is_refused_and_not_listed(
    unpriced: tuple[TestUser, FalProvider],
) -> None:
    user, fal = unpriced
    image_model, video = fal.models
    for path in (QUOTES, VIDEOS):
        answer = await user.http.post(path, json={**BODY, "imageModel": image_model.id})
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["field"] == "imageModel"
        assert image_model.id not in error["allowed"]
    models = await catalogue(user)
    assert image_model.id not in ids(models, "image")
    (listed,) = (model for model in models if model["id"] == video.id)
    assert listed["limits"]["resolutions"] == ["720p"]
    refused = await user.http.post(
        QUOTES, json={**BODY, "videoModel": video.id, "resolution": "1080p"}
    )
    (error,) = refused.json()["errors"]
    assert (error["field"], error["allowed"]) == ("resolution", ["720p"])
    sold = await quoted(user, {**BODY, "videoModel": video.id})
    assert sold["jobs"][1]["unitPrice"] == "0.0000025"
    # The remaining model is the default.
    assert (await quoted(user, BODY))["jobs"][0]["model"] == next(iter(ids(models, "image")))
