"""Liveness and readiness."""

import asyncpg

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
