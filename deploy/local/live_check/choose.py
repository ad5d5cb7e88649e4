"""What the live check buys: the cheapest image and video of a provider, else a short speech."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx

PROMPT = "A red kite over a harbour"
SPEECH = "Hello."


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """One order. models: what it buys. usd: the highest price, which its maxCost enforces."""

    provider: str
    models: tuple[str, ...]
    path: str
    body: dict[str, Any]
    usd: Decimal


async def choose(http: httpx.AsyncClient, providers: Iterable[str]) -> list[Purchase]:
    """Return the cheapest order at each provider, by the product's own quotes. Buys nothing."""
    answer = await http.get("/api/models")
    models: list[dict[str, Any]] = answer.raise_for_status().json()["data"]
    chosen: list[Purchase] = []
    for name in providers:
        own = [model for model in models if model["provider"] == name]
        purchase = await _cheapest_video(http, name, own) or await _cheapest_speech(http, name, own)
        if purchase is not None:
            chosen.append(purchase)
    return chosen


async def _cheapest_video(
    http: httpx.AsyncClient, provider: str, models: list[dict[str, Any]]
) -> Purchase | None:
    images = [
        await _quoted(
            http, provider, (model["id"],), "/api/executions", _step("image", model, PROMPT)
        )
        for model in models
        if model["kind"] == "image" and not model["limits"]["needsImage"]
    ]
    image = _cheapest(images)
    if image is None:
        return None
    videos: list[Purchase | None] = []
    for model in models:
        limits = model["limits"]
        if model["kind"] != "video":
            continue
        for resolution in limits["resolutions"] or [None]:
            body: dict[str, Any] = {
                "prompt": PROMPT,
                "imageModel": image.models[0],
                "videoModel": model["id"],
            }
            if limits["durations"]:
                body["duration"] = min(limits["durations"])
            if resolution is not None:
                body["resolution"] = resolution
            bought = (image.models[0], model["id"])
            videos.append(await _quoted(http, provider, bought, "/api/generate-video", body))
    return _cheapest(videos)


async def _cheapest_speech(
    http: httpx.AsyncClient, provider: str, models: list[dict[str, Any]]
) -> Purchase | None:
    return _cheapest(
        [
            await _quoted(
                http, provider, (model["id"],), "/api/executions", _step("audio", model, SPEECH)
            )
            for model in models
            if model["kind"] == "audio"
        ]
    )


def _step(kind: str, model: dict[str, Any], text: str) -> dict[str, Any]:
    params = {"text" if kind == "audio" else "prompt": text}
    step = {"name": kind, "kind": kind, "model": model["id"], "params": params}
    return {"plan": {"version": 1, "steps": [step]}}


async def _quoted(
    http: httpx.AsyncClient, provider: str, models: tuple[str, ...], path: str, body: dict[str, Any]
) -> Purchase | None:
    """Return the order with its highest price, or None if the model does not accept it."""
    answer = await http.post("/api/quotes", json=body)
    if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY.value:
        return None
    worst = Decimal(answer.raise_for_status().json()["worst"])
    limited = {**body, "maxCost": str(worst)}
    return Purchase(provider=provider, models=models, path=path, body=limited, usd=worst)


def _cheapest(purchases: Iterable[Purchase | None]) -> Purchase | None:
    return min(filter(None, purchases), key=lambda purchase: purchase.usd, default=None)
