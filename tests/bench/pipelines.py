"""Whether rendering pipelines delay the steps of other users at providers.

Two phases of a round have the same orders at the same moments: one alone, one while pipelines of
several users render. All pipelines of the first user are ordered before those of the second.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

import asyncpg
import httpx

from core.media.engine.engine import Engine
from core.platform.settings.media import MediaSettings
from deploy.local.demo.client import User
from deploy.local.product import run_tool
from tests.bench.cpu import CpuReading
from tests.bench.media import make_sources
from tests.bench.servers import Say, Servers, running_servers
from tests.bench.tables import quantile, spread, table

IMAGE_SECONDS: Final = 0.2
VIDEO_SECONDS: Final = 1.0
CLIP_SECONDS: Final = 10
"""The length of the source of a pipeline; see tests/bench/media.py."""
WARM_UP: Final = 10
ARRIVE_SECONDS: Final = 300.0
DRAIN_SECONDS: Final = 3600.0

COUNT_OPEN: Final = """
SELECT count(*) FROM executions WHERE execution_id = ANY($1) AND status IN ('queued', 'running')
"""
COUNT_STARTED: Final = """
SELECT count(*) FROM jobs WHERE execution_id = ANY($1) AND submitted_at IS NOT NULL
"""
LIST_ENDS: Final = """
SELECT user_id, status, extract(epoch FROM ended_at)::float8 AS ended_at
FROM executions WHERE execution_id = ANY($1) ORDER BY ended_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """latencies: from each order to its first create call, shortest first, in seconds."""

    latencies: Sequence[float]
    others_share: float

    def ms(self, share: float) -> float:
        return 1000 * quantile(self.latencies, share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """left: pipelines that still rendered after the last order of the second phase.

    mean_ends: of each user's pipelines in seconds since the first was ordered, in the order of the
    users. all_seconds: until the last has ended.
    """

    alone: Phase
    beside: Phase
    left: int
    mean_ends: Sequence[float]
    all_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Renderer:
    """A user whose pipelines render."""

    user: User
    clip: str


@dataclass(slots=True, kw_only=True)
class Bench:
    servers: Servers
    http: httpx.AsyncClient
    owner: "asyncpg.Connection[asyncpg.Record]"
    renderers: Sequence[Renderer]
    made: int = 0

    async def order(self, user: User, path: str, body: Mapping[str, Any]) -> str:
        answer = await self.http.post(
            path, json=body, headers={"authorization": f"Bearer {user.api_key}"}
        )
        return answer.raise_for_status().json()["executionId"]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pipelines", type=int, default=20, help="that render at once")
    parser.add_argument("--users", type=int, default=4, help="who order the pipelines")
    parser.add_argument("--rounds", type=int, default=3, help="each with both phases")
    parser.add_argument("--orders", type=int, default=60, help="of each phase")
    parser.add_argument("--rate", type=float, default=2.0, help="orders a second")
    parser.add_argument("--size", default="1280x720", help="of the rendered films")


async def run(options: argparse.Namespace, say: Say) -> None:
    async with (
        running_servers(
            lambda _: None, image_seconds=IMAGE_SECONDS, video_seconds=VIDEO_SECONDS, bare=False
        ) as servers,
        httpx.AsyncClient(base_url=servers.config.api_url, trust_env=False, timeout=60) as http,
    ):
        owner = await asyncpg.connect(servers.owner_url)
        try:
            renderers = await _renderers(servers, http, options)
            bench = Bench(servers=servers, http=http, owner=owner, renderers=renderers)
            say("  warm-up")
            await _phase(bench, WARM_UP, options.rate, seed=0)
            rounds: list[Round] = []
            for number in range(1, options.rounds + 1):
                rounds.append(await _round(bench, options, say, seed=number))
                done = rounds[-1]
                say(
                    f"  {number} of {options.rounds}: p95 {done.alone.ms(0.95):.0f} ms alone, "
                    f"{done.beside.ms(0.95):.0f} ms beside; {done.left} pipelines still rendered"
                )
        finally:
            await owner.close()
    say(f"\n{report(rounds, options.pipelines)}")


async def _renderers(
    servers: Servers, http: httpx.AsyncClient, options: argparse.Namespace
) -> list[Renderer]:
    """Create the users, each with an uploaded clip."""
    folder = servers.config.folder / "clip"
    folder.mkdir()
    engine = await Engine.start(MediaSettings(media_scratch_folder=folder / "scratch"))
    try:
        clip = (await make_sources(engine, folder, options.size))["film"].path
    finally:
        engine.close()
    return [
        await _renderer(servers, http, f"renderer {number}", clip)
        for number in range(options.users)
    ]


async def _renderer(servers: Servers, http: httpx.AsyncClient, name: str, clip: Path) -> Renderer:
    created = await asyncio.to_thread(
        run_tool,
        servers.config,
        dict(servers.environment),
        "cli",
        "users",
        "create",
        name,
        "--json",
    )
    user = User.model_validate_json(created)
    answer = await http.post(
        "/api/assets",
        files={"file": (clip.name, await asyncio.to_thread(clip.read_bytes))},
        headers={"authorization": f"Bearer {user.api_key}"},
    )
    return Renderer(user=user, clip=answer.raise_for_status().json()["id"])


async def _round(bench: Bench, options: argparse.Namespace, say: Say, *, seed: int) -> Round:
    alone = await _phase(bench, options.orders, options.rate, seed=seed)
    began = time.time()
    ids = await _start_pipelines(bench, options.pipelines)
    say(f"  {len(ids)} pipelines are ordered, and the first renders")
    beside = await _phase(bench, options.orders, options.rate, seed=seed)
    left = await bench.owner.fetchval(COUNT_OPEN, ids)
    await _until(bench, COUNT_OPEN, ids, 0, DRAIN_SECONDS)
    rows = await bench.owner.fetch(LIST_ENDS, ids)
    wrong = [row["status"] for row in rows if row["status"] != "completed"]
    if wrong:
        raise RuntimeError(f"{len(wrong)} pipelines ended {wrong[0]}")
    ends = {item.user.user_id: list[float]() for item in bench.renderers}
    for row in rows:
        ends[row["user_id"]].append(row["ended_at"] - began)
    return Round(
        alone=alone,
        beside=beside,
        left=left,
        mean_ends=[mean(of_user) for of_user in ends.values() if of_user],
        all_seconds=rows[-1]["ended_at"] - began,
    )


async def _start_pipelines(bench: Bench, number: int) -> list[str]:
    """Order the pipelines, user after user, and wait until the first one renders."""
    ids: list[str] = []
    for place in range(number):
        renderer = bench.renderers[place * len(bench.renderers) // number]
        bench.made += 1
        ids.append(
            await bench.order(renderer.user, "/api/executions", _pipeline(renderer, bench.made))
        )
    await _until(bench, COUNT_STARTED, ids, None, ARRIVE_SECONDS)
    return ids


def _pipeline(renderer: Renderer, number: int) -> dict[str, Any]:
    """Return a plan of two films of the clip's length. number: no two plans make equal files."""
    clip = {"media": {"asset": renderer.clip}, "duration": CLIP_SECONDS / 2}
    words = [
        {"text": f"word{number}-{place}", "start": place / 2, "end": place / 2 + 0.4}
        for place in range(2 * CLIP_SECONDS)
    ]
    merge = {
        "items": [clip, {**clip, "volume": 0.5 + number % 1000 / 2000}],
        "transition": {"type": "fade", "duration": 0.5},
    }
    captions = {"video": {"step": "film"}, "words": words, "style": {"preset": "tiktok"}}
    return {
        "plan": {
            "version": 1,
            "steps": [
                {"name": "film", "kind": "merge", "params": merge},
                {"name": "captioned", "kind": "captions", "params": captions},
            ],
        }
    }


async def _until(
    bench: Bench, count: str, ids: Sequence[str], wanted: int | None, seconds: float
) -> None:
    """Wait until this many rows are counted. wanted: None for any."""
    async with asyncio.timeout(seconds):
        while True:
            counted = await bench.owner.fetchval(count, ids)
            if counted == wanted or (wanted is None and counted):
                return
            await asyncio.sleep(0.5)


async def _phase(bench: Bench, orders: int, rate: float, *, seed: int) -> Phase:
    """Order at random moments, the same for each seed, and read when the provider was called."""
    chance = random.Random(seed)
    pids = bench.servers.current_pids()
    before, began = CpuReading.take(pids), time.monotonic()
    sent: dict[str, float] = {}
    due, ordering = began, list[asyncio.Task[str]]()
    for number in range(orders):
        due += chance.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        prompt = f"a kite, {seed}-{number}-{time.time_ns()}"
        sent[prompt] = time.time()
        body = {"prompt": prompt, "duration": 2, "resolution": "480p"}
        user = bench.servers.user
        ordering.append(asyncio.create_task(bench.order(user, "/api/generate-video", body)))
    ids = await asyncio.gather(*ordering)
    await _until(bench, COUNT_OPEN, ids, 0, ARRIVE_SECONDS)
    elapsed = time.monotonic() - began
    others = CpuReading.take(pids).others_share_since(before, elapsed)
    calls = await _first_calls(bench, sent)
    return Phase(
        latencies=sorted(calls[prompt] - at for prompt, at in sent.items()), others_share=others
    )


async def _first_calls(bench: Bench, sent: Mapping[str, float]) -> dict[str, float]:
    """Return when the sandbox accepted the first create call of each prompt."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        url = f"{bench.servers.config.sandbox_control_url}/bill"
        lines: list[dict[str, Any]] = (await http.get(url)).raise_for_status().json()["lines"]
    calls: dict[str, float] = {}
    for line in lines:
        prompt = line["input"].get("prompt")
        if prompt in sent:
            at = datetime.fromisoformat(line["time"]).timestamp()
            calls[prompt] = min(at, calls.get(prompt, at))
    return calls


def report(rounds: Sequence[Round], pipelines: int) -> str:
    def row(name: str, share: float) -> list[str]:
        alone = [one.alone.ms(share) for one in rounds]
        beside = [one.beside.ms(share) for one in rounds]
        ratios = [two / one for one, two in zip(alone, beside, strict=True)]
        return [name, spread(alone, 0), spread(beside, 0), spread(ratios, 2)]

    void = sum(one.left == 0 for one in rounds)
    ends = [[one.mean_ends[place] for one in rounds] for place in range(len(rounds[0].mean_ends))]
    users = ", ".join(spread(of_user, 0) for of_user in ends)
    others = 100 * median(one.alone.others_share for one in rounds)
    notes = [
        f"{pipelines} pipelines of two films of {CLIP_SECONDS} s ended within "
        f"{spread([one.all_seconds for one in rounds], 0)} s. Mean end of each user's pipelines, in "
        f"the order of the users: {users} s.",
        f"Other programs used {others:.0f} % of the machine while no pipeline rendered.",
    ]
    if void:
        notes.append(f"VOID: in {void} rounds no pipeline rendered any more at the last order.")
    head = ("order to the provider's create call", "alone, ms", f"beside {pipelines}, ms", "ratio")
    rows = [row("median", 0.5), row("p95", 0.95)]
    return f"{table(head, rows)}\n\n" + "\n".join(notes)
