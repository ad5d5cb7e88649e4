"""Counters of a new process start at zero, since Prometheus sees no increase of a first value."""

import json
import subprocess
import sys
from pathlib import Path

from deploy.local.config import ROOT

NEW_PROCESS = """
import asyncio, json, worker, api.callbacks, api.app
from prometheus_client import Counter
from core.jobs.initial_series import start_at_zero
from core.platform.observability import metrics
from core.platform.settings.providers import ProviderSettings
from core.providers.registry import Providers

async def start():
    async with Providers.open(ProviderSettings()) as providers:
        start_at_zero(providers)

asyncio.run(start())
counters = [each for each in vars(metrics).values() if isinstance(each, Counter)]
families = [family for each in counters for family in each.collect()]
print(json.dumps({f"{each.name}_total": sorted({s.value for s in each.samples}) for each in families}))
"""
NOT_AT_ZERO = {"takeone_failovers_total"}
"""Pairs of models: too many series, and no alert looks at a single failover."""


def test_counters_start_at_zero(tmp_path: Path) -> None:
    started = subprocess.run(
        [sys.executable, "-c", NEW_PROCESS],
        cwd=tmp_path,  # without the .env of a developer
        env={"PYTHONPATH": str(ROOT), "FAL_KEY": "an-id:a-secret"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 0, started.stderr
    values: dict[str, list[float]] = json.loads(started.stdout)
    assert {name for name, found in values.items() if not found} == NOT_AT_ZERO
    assert {value for found in values.values() for value in found} == {0.0}
