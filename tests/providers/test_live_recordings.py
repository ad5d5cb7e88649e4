"""Recordings of `make live-check`: adapters read from them what they read from the provider."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import ProviderHandle
from core.providers.registry import Providers
from tests.providers.replay import replaying
from tests.providers.wire import settings

FILES = {
    file.stem: json.loads(file.read_text(encoding="utf-8"))
    for file in sorted((Path(__file__).parent / "live").rglob("*.json"))
}


async def check_recording(recording: dict[str, Any]) -> None:
    """Read the recorded job with the adapter, and compare with what was read when it was new."""
    async with replaying(recording) as wire, Providers.open(settings(wire.url)) as providers:
        handle = ProviderHandle(
            provider=recording["provider"],
            model=recording["model"],
            provider_job_id=ProviderJobId(recording["provider_job_id"]),
            urls={name: url.replace("{base}", wire.url) for name, url in recording["urls"].items()},
        )
        report = await providers.provider(handle.provider).status(handle)
    expect = recording["expect"]
    assert (report.state, report.billed_units, report.run_seconds) == (
        expect["state"],
        expect["billed_units"],
        expect["run_seconds"],
    )
    assert [output.kind for output in report.outputs] == [
        output["kind"] for output in expect["outputs"]
    ]


@pytest.mark.parametrize("name", FILES)
async def test_recorded_job_is_read_as_when_it_was_recorded(name: str) -> None:
    await check_recording(FILES[name])
