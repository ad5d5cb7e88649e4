"""`python -m tests.bench.peers`: the same videos on BullMQ, DBOS, bare Temporal and Takeone.

All use the same sandbox, S3 server and webhook receiver. Each peer is written as its guides show,
with a checkpoint after each call, and without what its guides leave out. It installs the peers with
pinned versions into var/peers. Calls beyond the two of each video are work that was paid for again.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import aioboto3
import httpx
from aiobotocore.config import AioConfig

from deploy.local.config import ROOT
from deploy.local.servers.process import LocalError
from tests.bench.bare_activities import image_body, video_body
from tests.bench.cpu import CpuReading
from tests.bench.fill import MANY_JOBS
from tests.bench.inbox import Inbox
from tests.bench.peers.engines import (
    Engine,
    Product,
    new_key,
    running_bullmq,
    running_dbos,
    running_temporal,
)
from tests.bench.peers.install import NotInstallableError, install_bullmq, install_dbos
from tests.bench.servers import Say, Servers, machine, running_servers
from tests.bench.tables import table
from tests.support.stack_ports import receiver_port

CALLS_PER_VIDEO: Final = 2
POLL_SECONDS: Final = 0.5
"""How often the peers read a status: the interval of the vendors' own clients."""
GIVEN_UP_SECONDS: Final = 600.0
"""A worker killed just before a paid call leaves its outcome open until the provider's horizon."""
CALM_SECONDS: Final = 5.0
NANO: Final = 1_000_000_000

Opened = AbstractAsyncContextManager[Engine]
Opener = Callable[[Servers, httpx.AsyncClient, int], Opened]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One round of an engine. added: seconds beyond the provider's own time of completed videos."""

    engine: Engine
    videos: int
    kills: int
    added: list[float]
    wall_seconds: float
    cpu_ms: float
    calls: int
    billed_nano_usd: int
    others_share: float

    def row(self, price_nano_usd: int) -> list[str]:
        extra = self.calls - CALLS_PER_VIDEO * self.videos
        overpaid = self.billed_nano_usd - price_nano_usd * self.videos
        return [
            f"{self.engine.name} {self.engine.version}".strip(),
            str(self.kills),
            f"{len(self.added)} of {self.videos}",
            f"{len(self.added) / self.wall_seconds:.2f}",
            f"{1000 * median(self.added):.0f}" if self.added else "",
            "" if self.kills else f"{self.cpu_ms:.0f}",
            str(extra),
            f"{overpaid / NANO:.3f}",
            f"{100 * self.others_share:.0f} %",
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Presigned addresses for files, so that the peers need no S3 library."""

    client: Any
    bucket: str

    @classmethod
    @asynccontextmanager
    async def open(cls, servers: Servers) -> AsyncGenerator["Targets"]:
        settings = servers.environment
        async with aioboto3.Session().client(  # pyright: ignore[reportUnknownMemberType] - other services have no stubs
            "s3",
            endpoint_url=settings["S3_ENDPOINT_URL"],
            aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
            region_name=settings["AWS_REGION"],
            config=AioConfig(s3={"addressing_style": "path"}, signature_version="s3v4"),
        ) as client:
            yield cls(client=client, bucket=settings["S3_BUCKET"])

    async def put(self, key: str) -> str:
        address: str = await self.client.generate_presigned_url(
            "put_object", Params={"Bucket": self.bucket, "Key": key}, ExpiresIn=3600
        )
        return address


async def _order(servers: Servers, targets: Targets, inbox: Inbox, key: str) -> dict[str, Any]:
    settings = servers.environment
    model = "bytedance/seedance-1-pro"
    return {
        "id": key,
        "webhook": inbox.address(key),
        "pollSeconds": POLL_SECONDS,
        "image": {
            "url": f"{settings['FAL_QUEUE_URL']}/fal-ai/flux/schnell",
            "headers": {"authorization": f"Key {settings['FAL_KEY']}"},
            "body": image_body(),
        },
        "video": {
            "url": f"{settings['REPLICATE_BASE_URL']}/v1/models/{model}/predictions",
            "headers": {"authorization": f"Bearer {settings['REPLICATE_API_TOKEN']}"},
            "body": video_body(""),
        },
        "imageTarget": await targets.put(f"peers/{key}.jpg"),
        "videoTarget": await targets.put(f"peers/{key}.mp4"),
    }


async def _bill(servers: Servers, http: httpx.AsyncClient) -> tuple[int, int]:
    """Return the number of accepted create calls and what they cost."""
    answer = await http.get(f"{servers.config.sandbox_control_url}/bill")
    bill = answer.raise_for_status().json()
    return len(bill["lines"]), bill["total_nano_usd"]


async def run_engine(
    engine: Engine,
    servers: Servers,
    http: httpx.AsyncClient,
    inbox: Inbox,
    options: argparse.Namespace,
    kills: int,
) -> Ran:
    """Make the videos in a closed loop, and kill the worker each time a share of them has ended."""
    left, ended, added = options.videos, 0, list[float]()
    provider_seconds = options.image_seconds + options.video_seconds
    pids = servers.current_pids() | engine.pids
    async with Targets.open(servers) as targets:
        calls, billed = await _bill(servers, http)
        before, began = CpuReading.take(pids), time.monotonic()
        kill_at = [options.videos * (number + 1) // (kills + 1) for number in range(kills)]

        async def lane() -> None:
            nonlocal left, ended
            while left > 0:
                left -= 1
                key = new_key()
                order = await _order(servers, targets, inbox, key)
                with inbox.expecting(key) as arrival:
                    ordered = time.monotonic()
                    await engine.order(order)
                    try:
                        done = await asyncio.wait_for(arrival, GIVEN_UP_SECONDS)
                        if done.event.get("status") == "completed":
                            added.append(done.at_monotonic - ordered - provider_seconds)
                    except TimeoutError:
                        pass
                ended += 1
                if ended in kill_at:
                    await engine.kill_worker()

        await asyncio.gather(*(lane() for _ in range(options.in_flight)))
        wall_seconds = time.monotonic() - began
        after = CpuReading.take(pids)
        await asyncio.sleep(CALM_SECONDS)  # late work of a step that runs twice is on the bill, too
        calls_after, billed_after = await _bill(servers, http)
    return Ran(
        engine=engine,
        videos=options.videos,
        kills=kills,
        added=added,
        wall_seconds=wall_seconds,
        cpu_ms=1000 * sum(after.since(before).values()) / options.videos,
        calls=calls_after - calls,
        billed_nano_usd=billed_after - billed,
        others_share=after.others_share_since(before, wall_seconds),
    )


def _openers(folder: Path) -> dict[str, Opener]:
    """Return how to open each engine. An opener raises NotInstallableError with the reason."""

    @asynccontextmanager
    async def takeone(
        servers: Servers, http: httpx.AsyncClient, concurrency: int
    ) -> AsyncGenerator[Engine]:
        yield Product(servers=servers, http=http)

    def temporal(servers: Servers, http: httpx.AsyncClient, concurrency: int) -> Opened:
        return running_temporal(servers, version("temporalio"))

    def bullmq(servers: Servers, http: httpx.AsyncClient, concurrency: int) -> Opened:
        return running_bullmq(servers, http, install_bullmq(folder), concurrency)

    def dbos(servers: Servers, http: httpx.AsyncClient, concurrency: int) -> Opened:
        return running_dbos(servers, http, install_dbos(folder), concurrency)

    return {"takeone": takeone, "temporal": temporal, "bullmq": bullmq, "dbos": dbos}


async def compare(options: argparse.Namespace, say: Say) -> None:
    rows: list[list[str]] = []
    skipped: list[str] = []
    openers = _openers(options.folder.resolve())
    async with (
        running_servers(
            lambda _: None,
            image_seconds=options.image_seconds,
            video_seconds=options.video_seconds,
            environment=MANY_JOBS,
            bare=False,
        ) as servers,
        Inbox.open(receiver_port(servers.config)) as inbox,
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        settings = f"{servers.config.sandbox_control_url}/settings"
        answer = await http.put(settings, json={"submit_seconds": options.answer_seconds})
        answer.raise_for_status()
        price: int | None = None
        for name in options.engines:
            say(f"{name} ...")
            try:
                async with openers[name](servers, http, options.in_flight) as engine:
                    for kills in dict.fromkeys((0, options.kills)):
                        ran = await run_engine(engine, servers, http, inbox, options, kills)
                        price = price or ran.billed_nano_usd // max(1, ran.videos)
                        rows.append(ran.row(price))
                        say(f"  {' | '.join(rows[-1])}")
            except NotInstallableError as error:
                skipped.append(f"{name} was skipped: {error}")
                say(f"  {skipped[-1]}")
    head = (
        "engine", "worker kills", "completed", "a second", "added latency p50, ms", "CPU a video, ms",
        "create calls beyond two a video", "paid beyond the price, USD", "other programs",
    )  # fmt: skip
    say(
        f"\n{options.videos} videos, {options.in_flight} in flight, image {options.image_seconds:g} s, video "
        f"{options.video_seconds:g} s, create calls answered after {options.answer_seconds:g} s, status reads "
        f"every {POLL_SECONDS:g} s by the peers.\n\n{table(head, rows)}"
    )
    say("\n".join(skipped))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    names = list(_openers(ROOT))
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.peers",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--engines", nargs="+", choices=names, default=names, help="in this order")
    parser.add_argument("--videos", type=int, default=120, help="videos of a round")
    parser.add_argument("--in-flight", type=int, default=20, help="videos at a time")
    parser.add_argument(
        "--kills", type=int, default=3, help="worker kills in each engine's second round"
    )
    parser.add_argument(
        "--image-seconds", type=float, default=0.5, help="the provider's time for an image"
    )
    parser.add_argument(
        "--video-seconds", type=float, default=2.0, help="the provider's time for a video"
    )
    parser.add_argument(
        "--answer-seconds",
        type=float,
        default=0.3,
        help="from a paid create call to its answer: a worker that dies meanwhile has no answer",
    )
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "var" / "peers", help="where the peers are installed"
    )
    options = parser.parse_args()
    _say(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}")
    try:
        asyncio.run(compare(options, _say))
    except LocalError as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("stopped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
