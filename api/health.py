"""Liveness and readiness probes."""

import asyncio
from datetime import timedelta
from typing import Final

import asyncpg
from fastapi import APIRouter, Request

from api.http.openapi import problems
from api.http.problems.documents import unavailable
from api.http.problems.texts import DATABASE_UNREACHABLE, MIGRATIONS_MISSING
from api.http.schemas import Health, Readiness
from api.services import Services, services_of
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.store.database import DATABASE_DOWN
from core.store.executions.views.status import list_applied_migrations
from core.store.migrate import migration_names

CHECK_SECONDS: Final = 2.0
"""Shorter than the time-out of usual probes."""

RESULT_SECONDS: Final = 1.0

log = get_logger(__name__)
router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Check liveness")
async def healthz() -> Health:
    """Return success if the process serves requests; no other system is contacted."""
    return Health()


@router.get("/readyz", summary="Check readiness", responses=problems())
async def readyz(request: Request) -> Readiness:
    """Return success if PostgreSQL is reachable and has this version's migrations.

    Temporal may be unreachable: requests are accepted and start later. A result holds for a second,
    so that probes from many clients cost as much as one.
    """
    state, now = request.app.state, asyncio.get_running_loop().time()
    shared: tuple[float, asyncio.Task[Readiness]] | None = getattr(state, "readiness", None)
    if shared is None or (shared[1].done() and now >= shared[0] + RESULT_SECONDS):
        shared = now, asyncio.create_task(_check(services_of(request)))
        state.readiness = shared
    return await asyncio.shield(shared[1])


async def _check(services: Services) -> Readiness:
    _, temporal_up = await asyncio.gather(_check_database(services), _is_temporal_up(services))
    return Readiness(temporal="ok" if temporal_up else "degraded")


async def _check_database(services: Services) -> None:
    try:
        async with asyncio.timeout(CHECK_SECONDS), services.database.as_system() as conn:
            applied = set(await list_applied_migrations(conn))
    except asyncpg.UndefinedTableError:
        applied = set[str]()
    except DATABASE_DOWN as error:
        log.warning("readiness.database_unreachable", reason=type(error).__name__)
        raise unavailable(DATABASE_UNREACHABLE) from None
    missing = [name for name in migration_names() if name not in applied]
    if missing:
        log.warning("readiness.migrations_missing", missing=missing)
        raise unavailable(MIGRATIONS_MISSING.format(missing=", ".join(missing)))


async def _is_temporal_up(services: Services) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await services.temporal.service_client.check_health(
                timeout=timedelta(seconds=CHECK_SECONDS)
            )
    except (TimeoutError, *UNREACHABLE):
        return False
