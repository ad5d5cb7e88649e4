"""Errors: the tables are complete, and every error is a problem without internals."""

import json
from dataclasses import replace

import asyncpg
import pytest

from api.http.problems.documents import STATUS, ProblemError, problem_document, validation_problem
from api.http.problems.texts import TITLES
from core.domain.failures import FailureCode
from core.store.accounts.api_key_format import new_api_key
from tests.api.conftest import Api, TestUser, api_settings, running_api
from tests.support.servers import FreshDatabase, TemporalServer


def test_problem_tables_are_total() -> None:
    assert set(STATUS) == set(TITLES) == set(FailureCode)
    assert all(400 <= status <= 599 for status in STATUS.values())


def test_problem_names_at_most_50_fields() -> None:
    unknown = [{"loc": ("body", f"x{n}"), "type": "extra_forbidden", "msg": ""} for n in range(999)]
    problem = validation_problem(unknown)
    errors = problem_document(problem, "/api/x", "req_1")["errors"]
    assert len(errors) == 50
    assert "x50" not in problem.detail


@pytest.mark.parametrize("code", FailureCode)
def test_problem_has_all_members(code: FailureCode) -> None:
    document = problem_document(ProblemError(code, members={"errors": []}), "/api/x", "req_1")

    assert set(document) == {
        "type", "title", "status", "detail", "instance", "code", "retryable", "spent", "requestId",
        "errors",
    }  # fmt: skip
    assert document["requestId"] == "req_1"
    assert json.loads(json.dumps(document)) == document
    assert document["instance"] == "/api/x"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/healthz/", 404, "not_found"),
        ("DELETE", "/api/generate-video", 405, "method_not_allowed"),
        ("GET", "/api/generate-video", 405, "method_not_allowed"),
        ("PUT", "/healthz", 405, "method_not_allowed"),
        ("GET", "/api/executions", 401, "unauthenticated"),
    ],
)
async def test_problem_is_returned_for_framework_errors(
    shared_api: Api, method: str, path: str, status: int, code: str
) -> None:
    answer = await shared_api.http.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["code"], answer.json()["status"], answer.json()["instance"]) == (
        code,
        status,
        path,
    )
    if status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/endpoints", "GET, HEAD, POST"),
        ("POST", "/api/endpoints/end_1", "DELETE, GET, HEAD, PATCH"),
        ("DELETE", "/api/webhooks/resend", "POST"),
    ],
)
async def test_problem_names_every_allowed_method(
    shared_api: Api, method: str, path: str, allowed: str
) -> None:
    answer = await shared_api.http.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


async def test_problem_of_an_unexpected_error_reveals_nothing(
    api: Api, user: TestUser, fresh_database: FreshDatabase
) -> None:
    owner = await asyncpg.connect(fresh_database.owner_dsn)
    await owner.execute("ALTER TABLE webhook_attempts RENAME TO moved_away")
    await owner.close()

    answer = await user.http.get("/api/executions/" + (await _accepted(user)))

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["detail"]) == (
        "internal_error",
        "An internal error occurred in this service.",
    )
    assert "webhook_attempts" not in answer.text
    assert "Traceback" not in answer.text


async def _accepted(user: TestUser) -> str:
    answer = await user.http.post("/api/generate-video", json={"prompt": "A paper boat"})
    execution_id: str = answer.json()["executionId"]
    return execution_id


async def test_problem_while_the_database_is_down_is_503_soon(
    fresh_database: FreshDatabase, temporal_server: TemporalServer
) -> None:
    away = replace(fresh_database, application_dsn="postgresql://takeone:test@127.0.0.1:9/takeone")
    async with running_api(api_settings(away, temporal_server.address)) as api:
        headers = {"Authorization": f"Bearer {new_api_key().text}"}
        answer = await api.http.get("/api/executions", headers=headers)
        ready = await api.http.get("/readyz")
        alive = await api.http.get("/healthz")

    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert (ready.status_code, ready.json()["detail"]) == (503, "PostgreSQL cannot be reached.")
    assert alive.status_code == 200
