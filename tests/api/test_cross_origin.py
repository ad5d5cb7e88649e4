"""CORS for configured origins."""

from collections.abc import AsyncGenerator

import httpx
import pytest

from api.app import create_app
from tests.api.conftest import BASE_URL, Api

PAGE = "https://app.example.com"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
}


@pytest.fixture
async def browser(shared_api: Api) -> AsyncGenerator[httpx.AsyncClient]:
    app = create_app(shared_api.services, cors_origins=[PAGE])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as http:
        yield http


async def test_preflight_of_a_configured_origin_is_allowed(browser: httpx.AsyncClient) -> None:
    response = await browser.options("/api/generate-video", headers=PREFLIGHT)

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.headers["x-request-id"]


async def test_preflight_of_another_origin_is_refused(browser: httpx.AsyncClient) -> None:
    headers = PREFLIGHT | {"Origin": "https://other.example.com"}
    response = await browser.options("/api/generate-video", headers=headers)

    assert "access-control-allow-origin" not in response.headers


async def test_problems_are_readable_by_a_configured_origin(browser: httpx.AsyncClient) -> None:
    response = await browser.get("/api/executions", headers={"Origin": PAGE})

    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == PAGE
    assert "X-Request-Id" in response.headers["access-control-expose-headers"]


async def test_no_origin_is_allowed_by_default(shared_api: Api) -> None:
    response = await shared_api.http.get("/healthz", headers={"Origin": PAGE})

    assert "access-control-allow-origin" not in response.headers
