"""`takeone-mcp` as MCP clients run it: processes over stdio, on the whole stack."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from tests.end_to_end.world import World

pytestmark = pytest.mark.guarantee("G4")

PACKAGE = Path(__file__).parents[2] / "clients/python"
ORDER = {
    "prompt": "a red kite over a grey harbour",
    "duration": 2,
    "resolution": "480p",
    "max_cost": "2",
}


def environment(world: World, key: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PACKAGE),
        "TAKEONE_BASE_URL": world.stack.config.api_url,
        "TAKEONE_API_KEY": key,
    }


@asynccontextmanager
async def agent(world: World, key: str) -> AsyncGenerator[Client]:
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "takeone.mcp"], env=environment(world, key)
    )
    async with Client(stdio_client(server)) as client:
        yield client


async def new_key(world: World, limit: str) -> str:
    answer = await world.api.post(
        "/api/keys", json={"name": "agent", "spendLimit": {"daily": limit}}
    )
    assert answer.status_code == 201, answer.text
    key: str = answer.json()["apiKey"]
    return key


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    return {
        "error": result.is_error,
        "content": result.content,
        **(result.structured_content or {}),
    }


@pytest.mark.timeout(240)
async def test_two_processes_buy_one_video_with_one_limit(world: World) -> None:
    quoted = await world.api.post(
        "/api/quotes", json={name: ORDER[name] for name in ("prompt", "duration", "resolution")}
    )
    key = await new_key(world, quoted.json()["worst"])
    async with agent(world, key) as first, agent(world, key) as second:
        both = await asyncio.gather(
            call(first, "generate_video", **ORDER, request_id="red-kite-first"),
            call(second, "generate_video", **ORDER, request_id="red-kite-second"),
        )
        assert sorted(each["error"] for each in both) == [False, True]
        (ordered,) = [each for each in both if not each["error"]]
        (refusal,) = [each for each in both if each["error"]]
        assert "key_spend_limit_exceeded" in refusal["content"][0].text
        assert float(ordered["key"]["day"]["left"]) == 0
        async with asyncio.timeout(120):
            state = ordered
            while not state.get("ended"):
                state = await call(second, "wait_execution", execution_id=ordered["execution_id"])
    assert state["status"] == "completed"
    assert state["video_url"].startswith("http")
    assert len(await world.bill()) == 2  # a picture and a clip, of one order


async def test_process_refuses_a_key_without_a_limit(world: World) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "takeone.mcp",
        env=environment(world, world.user.api_key),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, errors = await program.communicate()
    assert (program.returncode, printed) == (2, b"")
    assert b"takeone-admin keys set-spend-limit" in errors
