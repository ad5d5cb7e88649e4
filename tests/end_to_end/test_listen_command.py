"""`takeone webhooks listen` as a program: webhooks reach a receiver on this machine."""

import asyncio
import json
import signal
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from takeone.cli._core.exits import Exit, StopError
from takeone.cli.webhooks.listening import check_receiver
from tests.end_to_end.command_line import CommandLine
from tests.end_to_end.test_listening import asked, shows
from tests.end_to_end.world import World
from tests.support.receiver import Receiver, reply


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(90):
        return (await process.stdout.readline()).decode().strip()


@pytest.mark.timeout(180)
async def test_webhooks_are_forwarded_and_recorded(world: World, tmp_path: Path) -> None:
    async with Receiver.open(reply(200)) as receiver:
        url = f"{receiver.url}?tenant=7"
        process = await CommandLine(world, tmp_path).start(
            "webhooks", "listen", "--json", "--print-secret", "--forward-to", url
        )
        try:
            secret = await line_of(process)
            assert secret.startswith("whsec_")
            execution_id = await world.generate(webhook=None)
            shown = json.loads(await line_of(process))
            (received,) = receiver.received
            assert Webhook(secret).verify(received.body, received.headers)["executionId"] == (
                execution_id
            )
            assert received.path.endswith("?tenant=7")
            assert (shown["statusCode"], shown["error"]) == (200, None)
            entry = await shows(world, shown["id"], state="delivered", attempts=1)
            assert entry["attemptLog"][0]["durationMs"] == shown["durationMs"]
        finally:
            process.send_signal(signal.SIGINT)
            await process.communicate()
    assert process.returncode == Exit.INTERRUPTED
    listed = await asked(world, "GET", "/api/endpoints")
    assert entry["endpointId"] not in [one["id"] for one in listed["data"]]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:3000/hook", "http://[::1]:9/", "http://10.1.2.3/x"]
)
def test_loopback_and_private_receivers_are_accepted(url: str) -> None:
    check_receiver(url)


@pytest.mark.parametrize("url", ["https://93.184.216.34/hook", "ftp://127.0.0.1/", "nothing"])
def test_other_receivers_are_refused(url: str) -> None:
    with pytest.raises(StopError) as refused:
        check_receiver(url)
    assert refused.value.code == Exit.USAGE
