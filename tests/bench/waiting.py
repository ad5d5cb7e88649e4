"""`python -m tests.bench.waiting`: the processor time of executions that merely wait."""

import argparse
import asyncio
import sys
from datetime import UTC, datetime

import httpx

from tests.bench.cpu import CpuReading
from tests.bench.servers import BARE_WORKER, Servers, machine, running_servers

RENDER_SECONDS = 3600.0
ORDERS_AT_ONCE = 16
MANY_JOBS = {f"{provider}_MAX_IN_FLIGHT": "100000" for provider in ("FAL", "REPLICATE")} | {
    "RUNNING_EXECUTIONS_PER_USER": "100000",
    "OPEN_EXECUTIONS_PER_USER": "100000",
}


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def measure(jobs: int, seconds: float, age_seconds: float) -> None:
    """Order executions, wait until all videos render and are this old, and read the counters."""
    say(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}")
    async with (
        running_servers(
            lambda _: None,
            image_seconds=0.5,
            video_seconds=RENDER_SECONDS,
            environment=MANY_JOBS,
        ) as servers,
        httpx.AsyncClient(base_url=servers.config.api_url, trust_env=False, timeout=60) as http,
    ):
        loop = asyncio.get_running_loop()
        began = loop.time()
        await _order(servers, http, jobs)
        await _until_all_render(servers, jobs)
        say(f"{jobs} videos render {loop.time() - began:.0f} s after the first order")
        await asyncio.sleep(age_seconds)
        before, reads = CpuReading.take(servers.pids), await _status_reads(servers)
        await asyncio.sleep(seconds)
        after = CpuReading.take(servers.pids)
        reads = await _status_reads(servers) - reads
        used = {name: spent / seconds for name, spent in after.since(before).items()}
        del used[BARE_WORKER]
        others = after.others_since(before) / seconds
        say("  ".join(f"{name} {cores:.3f}" for name, cores in sorted(used.items())))
        ours = sum(used[name] for name in ("API", "Worker", "Temporal", "PostgreSQL"))
        say(
            f"{jobs} waiting: {ours:.3f} cores (API, worker, Temporal, PostgreSQL), "
            f"{reads / seconds:.1f} status reads a second; other programs: {others:.2f} cores"
        )


async def _order(servers: Servers, http: httpx.AsyncClient, jobs: int) -> None:
    left = iter(range(jobs))

    async def lane() -> None:
        for _ in left:
            answer = await http.post(
                "/api/generate-video",
                json={"prompt": "A paper boat"},
                headers={"authorization": f"Bearer {servers.user.api_key}"},
            )
            answer.raise_for_status()

    await asyncio.gather(*(lane() for _ in range(ORDERS_AT_ONCE)))


async def _until_all_render(servers: Servers, jobs: int) -> None:
    async with asyncio.timeout(900), _control(servers) as sandbox:
        while True:
            lines = (await sandbox.get("/bill")).json()["lines"]
            if sum(line["state"] == "open" for line in lines) == jobs < len(lines):
                return
            await asyncio.sleep(1)


async def _status_reads(servers: Servers) -> int:
    """Return the number of status reads: KEPT_CALLS of the sandbox at most."""
    async with _control(servers) as sandbox:
        calls = (await sandbox.get("/calls")).json()["calls"]
    return sum(call["operation"] == "status" for call in calls)


def _control(servers: Servers) -> httpx.AsyncClient:
    base_url = servers.config.sandbox_control_url
    return httpx.AsyncClient(base_url=base_url, trust_env=False, timeout=30)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.waiting", description=__doc__)
    parser.add_argument("jobs", type=int, nargs="?", default=200)
    parser.add_argument("--seconds", type=float, default=30.0, help="the measured time")
    parser.add_argument("--age", type=float, default=20.0, help="age of the youngest job")
    options = parser.parse_args()
    asyncio.run(measure(options.jobs, options.seconds, options.age))
    return 0


if __name__ == "__main__":
    sys.exit(main())
