"""What an operator sees of an encrypted workflow: nothing without the codec endpoint, all of it
with it.
"""

import asyncio
import base64
import json
import subprocess
from typing import Any, cast

import httpx
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from temporalio.api.common.v1 import Payload
from temporalio.client import Client

from core.platform.temporal.payload_encryption import ENCODING
from deploy.local.servers.programs import program
from tests.end_to_end.sinks import payloads
from tests.end_to_end.world import PROMPT, World

pytestmark = pytest.mark.guarantee("G6")


async def _ended(world: World) -> str:
    execution_id = await world.generate()
    assert (await world.ended(execution_id))["status"] == "completed"
    return execution_id


async def test_codec_endpoint_decodes_a_history_fetched_raw(world: World) -> None:
    """As the Web UI does it: the endpoint from its server's settings, the payloads of an event, its
    page's origin.
    """
    execution_id, config = await _ended(world), world.stack.config
    plain = await Client.connect(f"127.0.0.1:{config.ports.temporal}")
    description = (await plain.get_workflow_handle(execution_id).describe()).raw_description
    history = await plain.get_workflow_handle(execution_id).fetch_history()
    sealed = [payload for event in [*history.events, description] for payload in payloads(event)]
    assert len(sealed) > 20
    async with httpx.AsyncClient(trust_env=False) as http:
        settings: dict[str, Any] = (
            await http.get(f"{config.temporal_ui_url}/api/v1/settings")
        ).json()
        endpoint: str = settings["Codec"]["Endpoint"]
        answer = await http.post(
            f"{endpoint}/decode",
            json={"payloads": [MessageToDict(payload) for payload in sealed]},
            headers={"origin": config.temporal_ui_url, "x-namespace": "default"},
        )
    assert answer.headers["access-control-allow-origin"] == config.temporal_ui_url
    shown = answer.json()["payloads"]
    assert len(shown) == len(sealed)
    raw = b"".join(payload.SerializeToString() for payload in sealed)
    decoded = b"".join(ParseDict(payload, Payload()).SerializeToString() for payload in shown)
    assert [
        (known in raw, known in decoded) for known in (PROMPT.encode(), execution_id.encode())
    ] == [(False, True)] * 2
    assert ENCODING not in decoded


async def test_temporal_cli_shows_a_workflow_through_the_codec_endpoint(
    world: World,
) -> None:
    execution_id, config = await _ended(world), world.stack.config

    def show(*options: str) -> str:
        command = [
            str(program("temporal")),
            "workflow",
            "show",
            "--workflow-id",
            execution_id,
            "--output",
            "json",
        ]
        address = f"--address=127.0.0.1:{config.ports.temporal}"
        done = subprocess.run(
            [*command, address, *options],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
            env={"HOME": "/"},
        )
        return done.stdout

    without = await asyncio.to_thread(show)
    with_it = await asyncio.to_thread(show, f"--codec-endpoint={config.codec_url}")
    assert (f'"{execution_id}"' in _inputs(with_it), execution_id in _inputs(without)) == (
        True,
        False,
    )


def _inputs(shown: str) -> str:
    """What the workflow and its activities were given."""
    events: list[dict[str, Any]] = json.loads(shown)["events"]
    payloads = [
        payload
        for event in events
        for attributes in event.values()
        if isinstance(attributes, dict)
        for payload in cast("dict[str, Any]", attributes).get("input", {}).get("payloads", [])
    ]
    assert payloads
    return "".join(base64.b64decode(payload["data"]).decode("latin-1") for payload in payloads)
