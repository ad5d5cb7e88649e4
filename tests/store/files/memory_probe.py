"""Store one large download in its own process and print its duration and memory."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import httpx

from core.domain.media.content import MediaKind
from core.store.files.downloads import open_source
from core.store.files.object_storage import ObjectStore


def peak_resident_bytes() -> int:
    """Return the peak of this program; getrusage would include the parent's memory before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


async def main(url: str, key: str, settings: dict[str, str]) -> None:
    progress: list[int] = []
    async with (
        httpx.AsyncClient() as client,
        ObjectStore.open(**settings, cdn_base_url=None) as store,
    ):
        await store.check()
        idle_bytes = peak_resident_bytes()
        started_at = time.monotonic()
        async with open_source(client, url, max_bytes=2 << 30, total_seconds=100) as chunks:
            stored = await store.put_stream(
                key,
                chunks,
                expected=MediaKind.VIDEO,
                max_bytes=2 << 30,
                on_progress=progress.append,
            )
        report = {
            "size_bytes": stored.size_bytes,
            "sha256": stored.sha256,
            "seconds": time.monotonic() - started_at,
            "idle_bytes": idle_bytes,
            "more_bytes": peak_resident_bytes() - idle_bytes,
            "progress": len(progress),
        }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))
