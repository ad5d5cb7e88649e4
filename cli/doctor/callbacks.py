"""Checks of callbacks: the public address, and the route on which providers report results."""

from http import HTTPStatus
from typing import Final

import httpx

from cli.doctor.finding import Finding, fail, ok, warn
from core.platform.settings.processes import WorkerProcess
from core.platform.urls import callback_base_url, reach
from core.providers.registry import Providers, calls_back, needs_callbacks, provider_address

CALLBACK_SECONDS: Final = 10.0
NO_TOKEN: Final = "doctor"  # noqa: S105 - a token that the API must refuse


async def check_callbacks(settings: WorkerProcess) -> list[Finding]:
    """Call PUBLIC_URL from this machine as a client and as a provider would."""
    base = settings.public_base_url
    async with httpx.AsyncClient(trust_env=False, timeout=CALLBACK_SECONDS) as client:
        async with Providers.open(settings) as providers:
            names = [name for name in providers.names if calls_back(name)]
        routes = [await _check_callback(client, name, settings) for name in names]
        return [await _check_public(client, base), *routes]


async def _check_public(client: httpx.AsyncClient, base: str) -> Finding:
    check = "callbacks.public_url"
    try:
        status = (await client.get(f"{base}/healthz")).status_code
    except httpx.HTTPError as error:
        action = "start the API and its proxy, or correct PUBLIC_URL"
        return fail(check, f"{base} does not answer from here: {type(error).__name__}", action)
    if status != HTTPStatus.OK:
        return fail(check, f"{base}/healthz answers {status}", "point PUBLIC_URL to the API")
    if reach(base) != "public" or not base.startswith("https://"):
        text = f"{base} is not a public https address"
        return warn(check, text, "set PUBLIC_URL to the address that clients use")
    return ok(check, f"{base} answers from here")


async def _check_callback(client: httpx.AsyncClient, name: str, settings: WorkerProcess) -> Finding:
    """Post a callback with a wrong token, which our API refuses with a problem document."""
    check, base = "callbacks.route", settings.public_base_url
    if callback_base_url(base, provider_address(settings, name)) is None:
        text, action = f"{name} cannot reach {base}", "set PUBLIC_URL to a public https address"
        if needs_callbacks(settings, name):
            return fail(check, f"{text}, and returns results only by callback", action)
        return warn(check, f"{text}: its jobs are polled, and end seconds later", action)
    try:
        answer = await client.post(f"{base}/callbacks/{name}/{NO_TOKEN}", json={})
    except httpx.HTTPError as error:
        return fail(check, f"a callback fails: {type(error).__name__}", "see callbacks.public_url")
    ours = answer.headers.get("content-type", "").startswith("application/problem+json")
    if answer.status_code != HTTPStatus.NOT_FOUND or not ours:
        text = f"a callback of {name} gets {answer.status_code} from something else than the API"
        return fail(check, text, "pass POST /callbacks/ through the proxy unchanged")
    return ok(check, f"callbacks of {name} reach the API from here; also try it from outside")
