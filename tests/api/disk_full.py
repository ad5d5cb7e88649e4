"""PostgreSQL on a disk that fills up under the API: `python -m tests.api.disk_full FOLDER`.

FOLDER is on a small disk. First the tables cannot grow; then the write-ahead log cannot grow, which
stops PostgreSQL. Afterwards every acknowledged order is complete and no refused order exists.
"""

import asyncio
import sys
import time
from pathlib import Path

import asyncpg
import httpx

from core.platform.observability.logging import configure_logging
from core.store.migrate import migrate
from deploy.local.ports import free_ports
from deploy.local.servers.postgres import postgres
from deploy.local.servers.process import Part, start_ready
from tests.api.conftest import TestUser, api_settings, running_api
from tests.api.whole import check_refused, check_whole
from tests.support.part_servers import PASSWORD
from tests.support.servers import FreshDatabase, PostgresServer
from tests.support.small_disk import Filler

READY_SECONDS = 10.0


async def _order(user: TestUser, prompt: str) -> httpx.Response:
    answer = await user.http.post(
        "/api/generate-video", json={"prompt": prompt.ljust(500, "."), "duration": 2}
    )
    if answer.status_code != 202:
        check_refused(answer)
    return answer


async def _tables_cannot_grow(user: TestUser) -> list[str]:
    """Order until one is refused, and a few times more.

    Return the accepted orders.
    """
    accepted: list[str] = []
    refused = 0
    for number in range(400):
        answer = await _order(user, f"number {number}")
        if answer.status_code == 202:
            accepted.append(answer.json()["executionId"])
        else:
            refused += 1
        if refused == 5:
            return accepted
    raise AssertionError("the disk is full, and everything was accepted")


def _has_panicked(log: Path) -> bool:
    return "PANIC" in log.read_text(errors="replace")


async def _log_cannot_grow(owner_dsn: str, log: Path) -> None:
    """Request a new log file until PostgreSQL stops itself, which protects acknowledged data."""
    for _ in range(50):
        try:
            owner = await asyncpg.connect(owner_dsn)
            await owner.execute("SELECT pg_switch_wal(), pg_logical_emit_message(true, 'x', 'x')")
            await owner.close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pass
        if _has_panicked(log):
            return
        await asyncio.sleep(0.1)
    raise AssertionError("PostgreSQL found room for its log")


async def _until_ready(user: TestUser, owner_dsn: str) -> tuple[str, float]:
    """Return the first accepted order and its seconds since PostgreSQL's first response."""
    async with asyncio.timeout(60):
        while True:
            try:
                await (await asyncpg.connect(owner_dsn)).close()
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.1)
            else:
                break
        back_at = time.monotonic()
        while True:
            answer = await _order(user, "there again")
            if answer.status_code == 202:
                return answer.json()["executionId"], time.monotonic() - back_at
            await asyncio.sleep(0.1)


async def _run(folder: Path, part: Part, server: PostgresServer) -> None:
    owner_dsn, application_dsn = server.owner_dsn(), server.application_dsn("postgres")
    await migrate(owner_dsn, application_dsn)
    database = FreshDatabase(name="postgres", owner_dsn=owner_dsn, application_dsn=application_dsn)
    async with running_api(api_settings(database, "127.0.0.1:9")) as api:
        user = await api.new_user()
        acknowledged = {
            (await _order(user, f"early {number}")).json()["executionId"] for number in range(3)
        }
        filler = Filler(folder)
        filler.fill()
        acknowledged |= set(await _tables_cannot_grow(user))
        assert (
            await user.http.get("/api/executions")
        ).status_code == 200  # reading needs no disk space
        await check_whole(owner_dsn, api.database, acknowledged)
        _say(f"tables could not grow: {len(acknowledged)} accepted, the rest refused")

        await _log_cannot_grow(owner_dsn, part.log)
        refused = await _order(user, "into the outage")
        check_refused(refused)
        check_refused(await user.http.get("/api/executions"))
        check_refused(await api.http.get("/readyz"))
        _say("the log could not grow: PostgreSQL stopped, all orders refused")

        filler.give_back()
        running = server.running
        assert running is not None
        if running.has_ended():
            running = await start_ready(part)
        try:
            first, ready_seconds = await _until_ready(user, owner_dsn)
            assert ready_seconds <= READY_SECONDS
            await check_whole(
                owner_dsn, api.database, {*acknowledged, first}, more=1
            )  # the order without a response
            for execution_id in acknowledged:
                assert (await user.http.get(f"/api/executions/{execution_id}")).json()[
                    "status"
                ] == "queued"
            _say(
                f"space was freed: ready after {ready_seconds:.1f} s, nothing lost, the ledger balances"
            )
        finally:
            await running.stop()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


async def main(folder: Path) -> None:
    configure_logging("WARNING", "json")
    (port,) = free_ports(1)
    part = postgres(folder, port, PASSWORD, log=folder.parent / "postgres.log")
    running = await start_ready(part)
    try:
        await _run(folder, part, PostgresServer(port=port, running=running))
    finally:
        await running.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
