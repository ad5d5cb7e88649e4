"""Calls to the control routes of the sandbox and of the webhook receiver, outside the faults."""

import asyncio
import time
from typing import Any

import httpx

REPEAT_SECONDS = 20.0
"""A fault may end the process that is asked; its supervisor starts it again within seconds."""


async def control(method: str, url: str, body: object = None) -> Any:
    """Call a control route and return its response.

    Repeated while the connection fails: each call sets a state or reads it.
    """
    until = time.monotonic() + REPEAT_SECONDS
    while True:
        try:
            async with httpx.AsyncClient(trust_env=False, verify=False, timeout=20) as http:
                answer = await http.request(method, url, json=body)
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.2)
        else:
            answer.raise_for_status()
            return answer.json() if answer.content else None
