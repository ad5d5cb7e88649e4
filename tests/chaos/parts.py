"""Parts of the testbed as faults need them: short horizons, slots for held work, a receiver."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from deploy.local.config import ROOT, Config
from deploy.local.servers.process import Part
from tests.chaos.kinds import DENIED_VOICE

SHORT_HORIZONS: Final[Mapping[str, str]] = {
    "FAL_START_DEADLINE_SECONDS": "5",
    "FAL_IMAGE_START_DEADLINE_SECONDS": "5",
    "FAL_IMAGE_HORIZON_SECONDS": "6",
    "FAL_HORIZON_SECONDS": "6",
    "REPLICATE_HORIZON_SECONDS": "6",
    # Longer: speech is made before it is listed, which takes seconds without processor time.
    "ELEVENLABS_HORIZON_SECONDS": "12",
    "LOOKUP_CONFIRM_SECONDS": "1",
    "USUAL_IMAGE_SECONDS": "1",
    "USUAL_VIDEO_SECONDS": "1",
}
"""The sandbox's lists have no lag, so a few seconds without a match are conclusive here. Its jobs
take seconds, so a lost callback is noticed within seconds.
"""
SANDBOX_SETTINGS: Final[Mapping[str, object]] = {
    "image_seconds": 0.3,
    "video_seconds": 0.6,
    "speech_seconds": 0.3,
    "elevenlabs_denied_voices": [DENIED_VOICE],
    "queue_seconds": 0.0,
    "tiny_media": True,
    # If killed, stopped or short of processor time, a run of 0.3 s takes ten seconds: a history
    # that hides running work would break the horizon of six seconds set here.
    "history_hides_running": False,
}
ROOM_TO_HOLD: Final[Mapping[str, str]] = {
    "DATABASE_POOL_SIZE": "80",
    "SUBMIT_SLOTS": "150",
    "ASSET_SLOTS": "60",
    "EXECUTION_SLOTS": "200",
    "ELEVENLABS_MAX_IN_FLIGHT": "150",
    "ELEVENLABS_SUBMITS_PER_SECOND": "0",
}
"""A held transaction keeps its slot and its connection. PostgreSQL accepts four such pools."""
POSTGRES_CONNECTIONS = 400
PRODUCT_LOG_BYTES = 200_000_000
"""The logs of all APIs and workers that were killed are needed to explain a slow order."""


def receiver(url: str, log: Path, config: Config) -> Part:
    """Return the receiver of webhooks, which listens at this address and writes this log."""

    async def answers() -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
            (await http.get(f"{url}/__control")).raise_for_status()

    return Part(
        name="Receiver",
        command=(
            sys.executable,
            "-m",
            "tests.chaos.receiver_process",
            str(urlsplit(url).port),
            str(log),
        ),
        environment={**os.environ, "PYTHONPATH": str(ROOT)},
        log=config.logs / "receiver.log",
        address=url,
        ready=answers,
        folder=config.folder,
        stop_seconds=2.0,
    )


def with_connections(part: Part) -> Part:
    """Add a limit of connections; the last of two settings counts."""
    return replace(part, command=(*part.command, "-c", f"max_connections={POSTGRES_CONNECTIONS}"))


def as_provider(part: Part, url: str) -> Part:
    """Return the sandbox as a provider.

    url: the address in its responses. After a kill it restarts with the same settings.
    """
    more = {"SANDBOX_PUBLIC_URL": url, "SANDBOX_SETTINGS": json.dumps(SANDBOX_SETTINGS)}
    return replace(part, environment={**(part.environment or {}), **more})
