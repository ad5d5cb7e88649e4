"""Test servers that stay up between runs: `make test-up`, `make test-down`.

`up` starts a background process that runs PostgreSQL, Temporal and S3, and writes their addresses
to var/test/servers.json. The fixtures in servers.py use them while that process is alive.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from deploy.local.servers.s3 import S3Access
from tests.support.part_servers import SERVER_NAMES, postgres_part, running, s3_part, temporal_part

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "var" / "test"
ADDRESSES = FOLDER / "servers.json"
LOG = FOLDER / "servers.log"
START_SECONDS = 60.0
STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptServers:
    """The addresses of the servers, and the process that runs them.

    created: its start time, which distinguishes it from a later process with the same pid.
    """

    pid: int
    created: float
    postgres_port: int
    temporal_address: str
    s3: dict[str, str]

    @property
    def s3_access(self) -> S3Access:
        return S3Access(**self.s3)

    def process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            alive = abs(process.create_time() - self.created) < 1
        except psutil.Error:
            return None
        return process if alive and process.status() != psutil.STATUS_ZOMBIE else None


def kept_servers() -> KeptServers | None:
    """Return the servers that `make test-up` keeps running, or None."""
    try:
        kept = KeptServers(**json.loads(ADDRESSES.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return kept if kept.process() is not None else None


def up() -> int:
    """Start the servers in the background and wait until they serve."""
    if kept_servers() is not None:
        print("The test servers are running already.")
        return 0
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    FOLDER.chmod(0o711)  # PostgreSQL's own system user must be able to enter
    with LOG.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.kept_servers", "serve"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while kept_servers() is None:
        if process.poll() is not None or time.monotonic() > deadline:
            print(f"The test servers did not start: see {LOG}", file=sys.stderr)
            process.terminate()
            return 1
        time.sleep(0.1)
    print(f"{SERVER_NAMES} are running. Now: make t T=tests/cli. To stop them: make test-down")
    return 0


def down() -> int:
    """Stop the servers."""
    kept = kept_servers()
    process = None if kept is None else kept.process()
    if process is None:
        print("No test servers are running.")
        return 0
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        print(f"Process {process.pid} did not stop within {STOP_SECONDS:.0f} s", file=sys.stderr)
        return 1
    print("The test servers are stopped.")
    return 0


async def serve() -> int:
    """Run the servers until SIGTERM."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    s3, access = s3_part(FOLDER)
    async with AsyncExitStack() as stack:
        started = await asyncio.gather(
            *(
                stack.enter_async_context(running(part))
                for part in (postgres_part(FOLDER), temporal_part(FOLDER), s3)
            )
        )
        kept = KeptServers(
            pid=os.getpid(),
            created=psutil.Process().create_time(),
            postgres_port=int(started[0].part.address.rpartition(":")[2]),
            temporal_address=started[1].part.address,
            s3=asdict(access),
        )
        new = ADDRESSES.with_suffix(".new")
        new.write_text(json.dumps(asdict(kept), indent=2) + "\n", encoding="utf-8")
        new.replace(ADDRESSES)
        await stopping.wait()
        ADDRESSES.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["up"]:
            sys.exit(up())
        case ["down"]:
            sys.exit(down())
        case ["serve"]:
            sys.exit(asyncio.run(serve()))
        case _:
            sys.exit("usage: python -m tests.support.kept_servers up | down")
