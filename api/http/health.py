"""Is the process alive, and can it do its work?"""

import asyncio
from datetime import timedelta

import asyncpg
from fastapi import APIRouter, Request

from api.http.openapi import problems
from api.http.problems import unavailable
from api.http.schemas import Health, Readiness
from api.services import Services, services_of
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.store.database import DATABASE_DOWN
from core.store.executions.status import list_applied_migrations
from core.store.migrate import migration_names

CHECK_SECONDS = 2.0
"""Probes give up after a few seconds; the answer must be faster."""

log = get_logger(__name__)
router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Alive")
async def healthz() -> Health:
    """Asks nobody else."""
    return Health()


@router.get("/readyz", summary="Ready", responses=problems())
async def readyz(request: Request) -> Readiness:
    """PostgreSQL is up with this version's migrations. Temporal may be away: requests are accepted,
    and begin later.
    """
    services = services_of(request)
    _, temporal_up = await asyncio.gather(_check_database(services), _temporal_up(services))
    return Readiness(temporal="ok" if temporal_up else "degraded")


async def _check_database(services: Services) -> None:
    try:
        async with asyncio.timeout(CHECK_SECONDS), services.database.as_system() as conn:
            applied = set(await list_applied_migrations(conn))
    except asyncpg.UndefinedTableError:
        applied = set[str]()
    except DATABASE_DOWN as error:
        log.warning("not ready", part="postgresql", reason=type(error).__name__)
        raise unavailable("PostgreSQL cannot be reached.") from None
    missing = [name for name in migration_names() if name not in applied]
    if missing:
        log.warning("not ready", part="migrations", missing=missing)
        raise unavailable(
            f"Migrations have not run: {', '.join(missing)}. Run python -m core.store.migrate."
        )


async def _temporal_up(services: Services) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await services.temporal.service_client.check_health(
                timeout=timedelta(seconds=CHECK_SECONDS)
            )
    except (TimeoutError, *UNREACHABLE):
        return False
