"""Play the scenarios and store the histories that are missing.

Usage: `python -m tests.workflows.record_histories [NAME ...]`. A stored history represents
executions that are running somewhere, so files are only ever added. After a change of the commands
(a new CURRENT_PATH), record the scenarios that show it; the path's number is added to their names.
"""

import argparse
import asyncio
import sys

from tests.workflows.scenarios import OF_EVERY_PATH, SCENARIOS, play
from tests.workflows.settled_scenarios import SETTLED_SCENARIOS
from tests.workflows.stored_histories import FOLDER, on_current_path, store
from tests.workflows.time_skipping import skipping_client
from tests.workflows.webhook_scenarios import WEBHOOK_SCENARIOS


async def record(names: list[str]) -> None:
    webhooks = {name: webhook.scenario for name, webhook in WEBHOOK_SCENARIOS.items()}
    scenarios = SCENARIOS | SETTLED_SCENARIOS | webhooks
    async with skipping_client() as client:
        for name in names:
            target = on_current_path(name)
            if (FOLDER / f"{target}.json").exists():
                continue
            played = await play(client, scenarios[name])
            store(target, await played.handle.fetch_history())
            sys.stdout.write(f"recorded {target}\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.workflows.record_histories", description=__doc__
    )
    parser.add_argument("names", nargs="*", help="scenarios; by default those of every path")
    given = parser.parse_args()
    asyncio.run(record(given.names or list(OF_EVERY_PATH)))


if __name__ == "__main__":
    main()
