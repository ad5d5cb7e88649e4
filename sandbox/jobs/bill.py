"""The bill: an append-only file of JSON lines, synced to disk before a response is sent.

A paid job writes two lines: `accepted` with the price of the request and, when it has ended,
`outcome` with the charge. The view joins them. The product never reads the bill; tests compare the
product's records with it.
"""

import asyncio
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from sandbox.jobs.store import Job
from sandbox.settings import Json


def timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def token_of(callback_url: str | None) -> str | None:
    """Return the last path segment of a callback address, which identifies the caller's request."""
    if callback_url is None:
        return None
    return callback_url.split("?")[0].rstrip("/").rsplit("/", 1)[-1] or None


class Bill:
    """The bill file and its lines; lines are kept in memory for the view."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: dict[str, Json] = {}  # by provider job id, in the order of acceptance
        self._buffer: list[bytes] = []
        self._appended = 0
        self._written = 0
        self._lock = asyncio.Lock()
        self._file = self._opened()

    def _opened(self) -> IO[bytes]:
        """Read the existing lines and open the file; remove a last line that a crash cut off."""
        good = 0
        if self._path.exists():
            with self._path.open("rb") as file:
                for raw in file:
                    if not raw.endswith(b"\n"):
                        break
                    self._fold(json.loads(raw))
                    good += len(raw)
            os.truncate(self._path, good)
        return self._path.open("ab")

    def _fold(self, event: Json) -> None:
        if event["event"] == "accepted":
            line = {key: value for key, value in event.items() if key != "event"}
            self._lines[event["provider_job_id"]] = line | {
                "state": "open",
                "billed": False,
                "billed_nano_usd": 0,
                "billable_units": None,
                "ended_at": None,
            }
            return
        line = self._lines[event["provider_job_id"]]
        for key in ("state", "billed", "billed_nano_usd", "billable_units"):
            line[key] = event[key]
        line["ended_at"] = event["time"]

    def contains(self, job_id: str) -> bool:
        return job_id in self._lines

    def is_open(self, job_id: str) -> bool:
        return self._lines[job_id]["state"] == "open"

    async def accept(self, job: Job, price_nano_usd: int) -> None:
        """Add the line of an accepted job and wait until it is on disk. Safe to repeat."""
        if self.contains(job.id):
            return
        self._append(
            {
                "event": "accepted",
                "time": timestamp(job.created_at),
                "provider": job.provider,
                "model": job.model,
                "account": job.account,
                "provider_job_id": job.id,
                "token": token_of(job.callback_url),
                "input": job.input,
                "price_nano_usd": price_nano_usd,
            }
        )
        await self.flush()

    def close(self, job: Job) -> None:
        """Add the outcome of an accepted job, on disk with the next flush. Safe to repeat."""
        if not self.is_open(job.id):
            return
        self._append(
            {
                "event": "outcome",
                "time": timestamp(job.ended_at or time.time()),
                "provider_job_id": job.id,
                "state": job.state,
                "billed": job.billed_nano_usd > 0,
                "billed_nano_usd": job.billed_nano_usd,
                "billable_units": job.billable_units,
            }
        )

    def _append(self, event: Json) -> None:
        self._fold(event)
        self._buffer.append(json.dumps(event).encode() + b"\n")
        self._appended += 1

    async def flush(self) -> None:
        """Wait until all lines appended so far are on disk.

        Lines that arrive during a sync share the next sync.
        """
        mine = self._appended
        async with self._lock:
            if self._written >= mine:
                return
            batch, self._buffer = self._buffer, []
            await asyncio.shield(asyncio.to_thread(self._write, batch))
            self._written += len(batch)

    def _write(self, batch: list[bytes]) -> None:
        self._file.write(b"".join(batch))
        self._file.flush()
        os.fsync(self._file.fileno())

    def view(self) -> dict[str, Any]:
        lines = list(self._lines.values())
        return {"lines": lines, "total_nano_usd": sum(line["billed_nano_usd"] for line in lines)}

    async def rotate(self) -> None:
        """Rename the file to a dated name and start an empty file."""
        async with self._lock:
            self._file.close()
            if self._path.stat().st_size:
                self._path.rename(self._path.with_name(f"bill-{time.time_ns()}.jsonl"))
            self._lines.clear()
            self._buffer.clear()
            self._written = self._appended
            self._file = self._path.open("ab")
