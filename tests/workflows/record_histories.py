"""Play scenarios and store the histories whose commands are new.

Usage: `python -m tests.workflows.record_histories [NAME ...]`. A stored history represents
executions that are running somewhere, so files are only ever added. Run it after a change of the
commands, with its new CURRENT_PATH; the path's number is part of the files' names.
"""

import asyncio
import sys

from core.domain.messages.executions import CURRENT_PATH
from tests.workflows.approval_scenarios import APPROVAL_SCENARIOS, RECORDED_APPROVALS
from tests.workflows.failover_scenarios import FAILOVERS, RECORDED_FAILOVERS
from tests.workflows.media_scenarios import MEDIA_SCENARIOS, RECORDED_MEDIA
from tests.workflows.reuse_scenarios import RECORDED_REUSE, REUSE_SCENARIOS
from tests.workflows.scenarios import RECORDED, SCENARIOS, play
from tests.workflows.settled_scenarios import SETTLED_SCENARIOS
from tests.workflows.stored_histories import fingerprint, newest, store, stored
from tests.workflows.time_skipping import skipping_client
from tests.workflows.together_scenarios import RECORDED_TOGETHER, TOGETHER
from tests.workflows.webhook_scenarios import WEBHOOK_SCENARIOS


async def record(names: list[str]) -> None:
    histories = stored()
    webhooks = {name: webhook.scenario for name, webhook in WEBHOOK_SCENARIOS.items()}
    scenarios = SCENARIOS | TOGETHER | SETTLED_SCENARIOS | FAILOVERS | MEDIA_SCENARIOS | webhooks
    scenarios |= REUSE_SCENARIOS | APPROVAL_SCENARIOS
    async with skipping_client() as client:
        for name in names or (
            *RECORDED,
            *RECORDED_TOGETHER,
            *RECORDED_FAILOVERS,
            *RECORDED_MEDIA,
            *RECORDED_APPROVALS,
            *RECORDED_REUSE,
        ):
            played = await play(client, scenarios[name])
            history = await played.handle.fetch_history()
            before, target = newest(name), f"{name}-path-{CURRENT_PATH}"
            if before is not None and fingerprint(history) == fingerprint(histories[before]):
                continue
            if target in histories:
                raise SystemExit(f"the commands of {name} have changed: raise CURRENT_PATH")
            store(target, history)
            sys.stdout.write(f"recorded {target}\n")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1:]))
