"""The examination of an installation before it goes live: all checks, concurrently."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import asyncpg

from cli.doctor.callbacks import check_callbacks
from cli.doctor.database import check_database
from cli.doctor.finding import Finding, fail, ok
from cli.doctor.money import check_money
from cli.doctor.providers import check_clocks, check_providers
from cli.doctor.storage import check_storage
from cli.doctor.temporal import check_temporal
from core.platform.settings.load import read
from core.platform.settings.processes import ApiProcess, WorkerProcess
from core.store.database import DATABASE_DOWN

AREA_SECONDS: Final = 60.0

AREAS: Final[Mapping[str, Callable[[WorkerProcess], Awaitable[list[Finding]]]]] = {
    "database": check_database,
    "storage": check_storage,
    "temporal": check_temporal,
    "providers": check_providers,
    "clocks": check_clocks,
    "callbacks": check_callbacks,
    "money": check_money,
}


async def examine(settings: WorkerProcess) -> list[Finding]:
    """Run the checks of every area and return their findings, in the order of the areas."""
    results = await asyncio.gather(*(_check_area(area, settings) for area in AREAS))
    return [finding for findings in results for finding in findings]


async def _check_area(area: str, settings: WorkerProcess) -> list[Finding]:
    check = f"{area}.check"
    try:
        async with asyncio.timeout(AREA_SECONDS):
            return await AREAS[area](settings)
    except TimeoutError:
        return [fail(check, f"no result within {AREA_SECONDS:g} s", "check the network")]
    except (asyncpg.PostgresError, *DATABASE_DOWN):
        return [fail(check, "the database cannot be used", "see database.*")]
    except Exception as error:  # noqa: BLE001 - one broken check must not hide the others
        text = f"the check failed: {type(error).__name__}: {' '.join(str(error).split())}"
        return [fail(check, text, "report this as a bug, with the output")]


def check_settings() -> tuple[list[Finding], WorkerProcess | None]:
    """Read the settings of API and worker as these processes do.

    Returns no settings if a worker could not start with them.
    """
    worker, api = read(WorkerProcess), read(ApiProcess)
    findings: list[Finding] = []
    for name, loaded in (("worker", worker), ("api", api)):
        check = f"settings.{name}"
        if isinstance(loaded, list):
            findings += [fail(check, line, "correct the setting") for line in loaded]
        else:
            findings.append(ok(check, "all settings are valid"))
    return findings, None if isinstance(worker, list) else worker
