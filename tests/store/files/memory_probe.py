"""Stores one large download in a process of its own and prints what that took."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import httpx

from core.domain.media import MediaKind
from core.store.files.downloads import open_source
from core.store.files.object_storage import ObjectStore


def peak_resident_bytes() -> int:
    """Of this program alone; getrusage would count the parent's memory before the program was
    loaded.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


async def main(url: str, key: str, settings: dict[str, str]) -> None:
    beats: list[int] = []
    async with (
        httpx.AsyncClient() as client,
        ObjectStore.open(**settings, cdn_base_url=None) as store,
    ):
        await store.check()
        idle_bytes = peak_resident_bytes()
        started_at = time.monotonic()
        async with open_source(client, url, max_bytes=2 << 30, total_seconds=100) as chunks:
            stored = await store.put_stream(
                key, chunks, expected=MediaKind.VIDEO, max_bytes=2 << 30, on_progress=beats.append
            )
        report = {
            "size_bytes": stored.size_bytes,
            "sha256": stored.sha256,
            "seconds": time.monotonic() - started_at,
            "idle_bytes": idle_bytes,
            "more_bytes": peak_resident_bytes() - idle_bytes,
            "beats": len(beats),
        }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
