"""The proxy of production as a process, in front of APIs on this machine."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

CADDY = Path(sys.executable).parent / "caddy"
CADDYFILE = Path(__file__).parents[2] / "deploy/proxy/Caddyfile"


@asynccontextmanager
async def running_caddy(
    port: int, *upstreams: str, folder: Path, **settings: str
) -> AsyncGenerator[str]:
    """Run Caddy with the configuration of production, without TLS, and yield its address.

    upstreams: host:port of each API. settings: variables of the Caddyfile.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "SITE_ADDRESS": f"http://127.0.0.1:{port}",
        "API_UPSTREAMS": " ".join(upstreams),
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        *(str(CADDY), "run", "--adapter", "caddyfile", "--config", str(CADDYFILE)),
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        await _wait_until_ready(url)
        yield url
    finally:
        process.kill()
        await process.wait()


async def _wait_until_ready(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        for _ in range(100):
            try:
                if (await http.get("/healthz")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.1)
    raise TimeoutError("the proxy does not answer")
