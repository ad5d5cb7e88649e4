"""A baseline worker that serves until SIGTERM: `python -m tests.chaos.baseline worker [FILE]`.

FILE is written once the worker polls for work.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx
from temporalio.client import Client
from temporalio.worker import Worker

from tests.chaos.baseline.activities import TIMEOUT_SECONDS, Activities, Addresses
from tests.chaos.baseline.workflow import QUEUE, BaselineVideoWorkflow


async def serve(ready: Path | None) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    client = await Client.connect(
        os.environ["TEMPORAL_ADDRESS"], namespace=os.environ.get("TEMPORAL_NAMESPACE", "default")
    )
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS) as http:
        doing = Activities(http=http, addresses=Addresses.of())
        worker = Worker(
            client,
            task_queue=QUEUE,
            workflows=[BaselineVideoWorkflow],
            activities=[doing.make_image, doing.submit_video, doing.poll_video, doing.send_webhook],
        )
        async with worker:
            if ready is not None:
                await asyncio.to_thread(ready.write_text, str(os.getpid()), encoding="ascii")
            await stopping.wait()


def main() -> int:
    if sys.argv[1:2] != ["worker"] or len(sys.argv) > 3:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    asyncio.run(serve(Path(sys.argv[2]) if len(sys.argv) == 3 else None))
    return 0


if __name__ == "__main__":
    sys.exit(main())
