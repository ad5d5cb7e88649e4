"""Liveness and readiness."""

import asyncio

import asyncpg
import pytest

from api import health
from api.http.schemas import Readiness
from api.services import Services
from core.store.migrate import migration_names
from tests.api.conftest import Api, api_settings, running_api
from tests.support.servers import FreshDatabase, PostgresServer, new_database


async def test_healthz_answers_without_a_key(api: Api) -> None:
    answer = await api.http.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_readyz_is_ready_with_everything_up(api: Api) -> None:
    answer = await api.http.get("/readyz")

    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ready", "postgresql": "ok", "temporal": "ok"},
    )


async def test_readyz_names_the_migration_that_has_not_run(
    api: Api, fresh_database: FreshDatabase
) -> None:
    last = migration_names()[-1]
    owner = await asyncpg.connect(fresh_database.owner_dsn)
    await owner.execute("DELETE FROM schema_migrations WHERE name = $1", last)
    await owner.close()

    answer = await api.http.get("/readyz")

    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    assert last in answer.json()["detail"]


async def test_readyz_reports_an_empty_database(
    postgres_server: PostgresServer, template_database: str, temporal_address: str
) -> None:
    assert template_database  # the roles exist; the database is empty
    async with (
        new_database(postgres_server) as empty,
        running_api(api_settings(empty, temporal_address)) as api,
    ):
        answer = await api.http.get("/readyz")

    assert answer.status_code == 503
    assert migration_names()[0] in answer.json()["detail"]


async def test_readyz_checks_the_servers_once_a_second(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = 0
    check = health._check  # pyright: ignore[reportPrivateUsage]

    async def counted(services: Services) -> Readiness:
        nonlocal checks
        checks += 1
        return await check(services)

    monkeypatch.setattr(health, "_check", counted)
    monkeypatch.setattr(health, "RESULT_SECONDS", 3600.0)
    answers = [await api.http.get("/readyz") for _ in range(3)]
    answers += await asyncio.gather(*(api.http.get("/readyz") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert checks == 1
    monkeypatch.setattr(health, "RESULT_SECONDS", 0.0)
    await api.http.get("/readyz")
    assert checks == 2
