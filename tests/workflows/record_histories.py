"""Play the scenarios and store the histories that are missing.

Usage: `python -m tests.workflows.record_histories [NAME ...]`. A stored history represents
executions that are running somewhere, so files are only ever added. After a change of the command
sequence behind a patch, record the new branch under a new name (`--as SUFFIX`) and keep the old
file.
"""

import argparse
import asyncio
import sys

from tests.workflows.scenarios import SCENARIOS, play
from tests.workflows.stored_histories import FOLDER, store
from tests.workflows.time_skipping import skipping_client


async def record(names: list[str], suffix: str) -> None:
    async with skipping_client() as client:
        for name in names:
            target = name + suffix
            if (FOLDER / f"{target}.json").exists():
                continue
            played = await play(client, SCENARIOS[name])
            store(target, await played.handle.fetch_history())
            sys.stdout.write(f"recorded {target}\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.workflows.record_histories", description=__doc__
    )
    parser.add_argument("names", nargs="*", help="scenarios; all by default")
    parser.add_argument(
        "--as", dest="suffix", default="", help="put behind the names, for a branch behind a patch"
    )
    given = parser.parse_args()
    asyncio.run(record(given.names or list(SCENARIOS), given.suffix))


if __name__ == "__main__":
    main()
