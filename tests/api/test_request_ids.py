"""X-Request-Id on every response, in problems and in the log."""

import io
import json
import logging
import re

import pytest
import structlog
from starlette.types import Receive, Scope, Send

from api.http.middleware.request_ids import RequestIds
from core.platform.observability.logging import configure_logging, get_logger
from tests.api.conftest import Api, TestUser

NEW_ID = re.compile(r"req_[0-9a-f]{32}", re.ASCII)


async def test_every_response_has_a_new_request_id(api_once: TestUser) -> None:
    paths = ("/healthz", "/api/executions", "/api/nothing", "/openapi.json")
    responses = [await api_once.http.get(path) for path in paths]

    ids = [response.headers["x-request-id"] for response in responses]
    assert all(NEW_ID.fullmatch(request_id) for request_id in ids)
    assert len(set(ids)) == len(ids)


async def test_problem_has_the_request_id_of_its_response(shared_api: Api) -> None:
    response = await shared_api.http.get("/api/executions")

    assert response.status_code == 401
    assert response.json()["requestId"] == response.headers["x-request-id"]


@pytest.mark.parametrize("sent", ["a", "5f6c-1.2:3_4", "x" * 64])
async def test_plausible_request_id_is_kept(shared_api: Api, sent: str) -> None:
    response = await shared_api.http.get("/healthz", headers={"X-Request-Id": sent})

    assert response.headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, 'a"b', "<script>"])
async def test_implausible_request_id_is_replaced(shared_api: Api, sent: str) -> None:
    response = await shared_api.http.get("/healthz", headers={"X-Request-Id": sent})

    assert NEW_ID.fullmatch(response.headers["x-request-id"])


async def test_log_lines_of_a_request_have_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    handlers = logging.getLogger().handlers[:]
    monkeypatch.setattr("sys.stderr", output)
    configure_logging("INFO", "json")
    try:

        async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
            get_logger("test").info("test.happened")

        async def receive() -> dict[str, object]:
            return {}

        async def send(_message: object) -> None: ...

        headers = [(b"x-request-id", b"abc")]
        await RequestIds(app)({"type": "http", "headers": headers}, receive, send)
        get_logger("test").info("test.after")
    finally:
        logging.getLogger().handlers[:] = handlers
        structlog.reset_defaults()

    during, after = (json.loads(line) for line in output.getvalue().splitlines())
    assert during["request_id"] == "abc"
    assert "request_id" not in after


async def test_openapi_documents_the_request_id(shared_api: Api) -> None:
    document = (await shared_api.http.get("/openapi.json")).json()

    responses = [
        response
        for operations in document["paths"].values()
        for operation in operations.values()
        for response in operation["responses"].values()
    ]
    assert all("X-Request-Id" in response["headers"] for response in responses)
    assert "requestId" in document["components"]["schemas"]["Problem"]["properties"]
