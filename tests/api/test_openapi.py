"""The OpenAPI document: complete, with references that resolve and examples that are valid."""

import base64
import hashlib
import re
from collections.abc import Iterator
from typing import Any, cast

import pytest

from api.executions.requests import GenerateVideoRequest
from api.http.problems.documents import STATUS
from api.http.schemas import Problem
from core.domain.scopes import Scope
from tests.api.conftest import Api, TestUser

ROUTES = frozenset(
    {
        "POST /api/generate-video",
        "POST /api/generate-image",
        "POST /api/generate-audio",
        "POST /api/transcribe",
        "POST /api/executions",
        "POST /api/quotes",
        "POST /api/quotes/generate-image",
        "POST /api/quotes/generate-audio",
        "POST /api/quotes/transcribe",
        "POST /api/quotes/executions",
        "GET /api/models",
        "GET /api/plans/schema",
        "POST /api/plans/import",
        "GET /api/executions",
        "GET /api/executions/{execution_id}",
        "GET /api/executions/{execution_id}/events",
        "GET /api/executions/{execution_id}/timeline",
        "POST /api/executions/{execution_id}/stream-tickets",
        "GET /api/events",
        "GET /api/endpoints/{endpoint_id}/stream",
        "POST /api/endpoints/{endpoint_id}/results",
        "POST /api/executions/{execution_id}/approve",
        "POST /api/executions/{execution_id}/cancel",
        "POST /api/executions/{execution_id}/retry",
        "GET /api/templates",
        "POST /api/templates",
        "GET /api/templates/{template_id}",
        "DELETE /api/templates/{template_id}",
        "GET /api/assets",
        "POST /api/assets",
        "GET /api/assets/{asset_id}",
        "DELETE /api/assets/{asset_id}",
        "GET /api/assets/{asset_id}/content",
        "GET /api/usage",
        "GET /api/keys",
        "POST /api/keys",
        "DELETE /api/keys/{key_id}",
        "PATCH /api/keys/{key_id}",
        "GET /api/keys/current",
        "GET /api/provider-keys",
        "PUT /api/provider-keys/{provider}",
        "POST /api/provider-keys/{provider}/test",
        "DELETE /api/provider-keys/{provider}",
        "GET /api/endpoints",
        "POST /api/endpoints",
        "GET /api/endpoints/{endpoint_id}",
        "PATCH /api/endpoints/{endpoint_id}",
        "DELETE /api/endpoints/{endpoint_id}",
        "DELETE /api/executions/{execution_id}",
        "POST /api/endpoints/{endpoint_id}/rotate-secret",
        "POST /api/endpoints/{endpoint_id}/disable",
        "POST /api/endpoints/{endpoint_id}/enable",
        "POST /api/endpoints/{endpoint_id}/test",
        "GET /api/webhooks",
        "GET /api/webhooks/{event_id}",
        "POST /api/webhooks/{event_id}/resend",
        "POST /api/webhooks/resend",
        "POST /api/webhook-secret/rotate",
        "GET /v1/models",
        "GET /v1/models/{model_id}",
        "GET /v1/videos",
        "POST /v1/videos",
        "GET /v1/videos/{video_id}",
        "DELETE /v1/videos/{video_id}",
        "GET /v1/videos/{video_id}/content",
        "POST /v1/videos/{video_id}/cancel",
        "POST /callbacks/{provider}/{token}",
        "GET /healthz",
        "GET /readyz",
    }
)


async def _document(api: Api) -> dict[str, Any]:
    answer = await api.http.get("/openapi.json")
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


def _walk(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        yield found
        for child in found.values():
            yield from _walk(child)
    elif isinstance(value, list):
        for child in cast("list[object]", value):
            yield from _walk(child)


async def test_openapi_has_every_route_and_each_lists_its_problems(api: Api) -> None:
    document = await _document(api)

    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == ROUTES
    for name, operation in operations.items():
        assert operation["summary"], name
        errors = {
            status: answer for status, answer in operation["responses"].items() if status >= "400"
        }
        assert errors or name == "GET /healthz"
        for status, answer in errors.items():
            (media_type,) = answer["content"]
            assert media_type == "application/problem+json", (name, status)
        if name.split()[1].startswith(("/api/", "/v1/")):
            assert "401" in errors, name
            assert (
                "rate_limited" in errors["429"]["content"]["application/problem+json"]["examples"]
            ), name
            assert "RateLimit" in errors["429"]["headers"], name
            ((scheme, scopes),) = operation["security"][0].items()
            assert (scheme, set(scopes) <= set(Scope), len(scopes)) == ("apiKey", True, 1), name
            assert (
                "insufficient_scope"
                in errors["403"]["content"]["application/problem+json"]["examples"]
            ), name
    assert {"401", "402", "413", "415", "422", "500", "503"} <= set(
        operations["POST /api/generate-video"]["responses"]
    )


async def test_openapi_references_resolve(api: Api) -> None:
    document = await _document(api)

    references = {found["$ref"] for found in _walk(document) if "$ref" in found}
    assert "#/components/schemas/Problem" in references
    for reference in references:
        match = re.fullmatch(r"#/components/(schemas|headers)/([\w-]+)", reference)
        assert match is not None, reference
        assert match[2] in document["components"][match[1]], reference
    assert document["openapi"].startswith("3.1")


async def test_openapi_examples_are_valid(api: Api, user: TestUser) -> None:
    document = await _document(api)

    examples = document["components"]["schemas"]["GenerateVideoRequest"]["examples"]
    assert examples
    for example in examples:
        GenerateVideoRequest.model_validate(example)
        assert (await user.http.post("/api/generate-video", json=example)).status_code == 202
    problems = [
        example["value"]
        for found in _walk(document["paths"])
        if "application/problem+json" in found
        for example in found["application/problem+json"]["examples"].values()
    ]
    assert problems
    for problem in problems:
        assert Problem.model_validate(problem).status in STATUS.values()


async def test_docs_page_is_served(api: Api) -> None:
    answer = await api.http.get("/docs")

    assert answer.status_code == 200
    assert "/openapi.json" in answer.text
    policy = answer.headers["content-security-policy"]
    scripts = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    assert scripts
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "script-src 'self' 'sha256-" in policy
    sources = re.findall(r"(?:src|href)=\"([^\"]+)\"", answer.text)
    assert sources
    assert not [source for source in sources if not source.startswith(("/", "data:"))]


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/openapi.json", "/nothing", "/api/usage"])
async def test_every_response_has_security_headers(api: Api, path: str) -> None:
    headers = (await api.http.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def test_openapi_document_is_not_sent_again_if_unchanged(api: Api) -> None:
    first = await api.http.get("/openapi.json")
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await api.http.get("/openapi.json", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = await api.http.get("/openapi.json", headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)
