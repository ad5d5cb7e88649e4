"""The script in its own namespace: calls user-supplied addresses with the unmodified product.

The results are printed as JSON.
"""

import asyncio
import json
import os
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import uvloop

from core.domain.media.content import MediaError
from core.platform.egress.client import Outbound
from core.platform.egress.rules import OutboundRules
from core.platform.observability.logging import configure_logging
from core.store.files.downloads import open_source
from core.webhooks.sender import Answer, WebhookHttpSettings, post_webhook
from tests.network.cases import (
    FORBIDDEN,
    NAMES,
    PORTS,
    PRIVATE,
    PROXY,
    PUBLIC,
    SPELLINGS,
    UNROUTED,
    name_of,
    url_of,
)
from tests.network.world import World, add_addresses

Seen = dict[str, Any]
HANGING = 100
# Without certificate authorities: loading all of them takes time.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
LISTED = OutboundRules(allowed_private_hosts=frozenset({(PRIVATE, 8090), ("files.corp", 8090)}))
PROXIED = OutboundRules(egress_proxy_url="http://user:secret@proxy.corp.internal:3128")
RECORDS: dict[str, list[list[str]]] = {
    "ok.example.com": [list(PUBLIC)],
    "hook.example.com": [[PUBLIC[0]]],
    "other.example.com": [[PUBLIC[0]]],
    "mixed.example.com": [[PUBLIC[0], PRIVATE]],
    "mixed6.example.com": [[PUBLIC[0], "fd00:ec2::254"]],
    "first-dead.example.com": [[UNROUTED, PUBLIC[0]]],
    "chain.example.com": [["chain2.example.com"]],
    "chain2.example.com": [["chain3.example.com"]],
    "chain3.example.com": [[PUBLIC[0]]],
    "bad-chain.example.com": [["chain4.example.com"]],
    "chain4.example.com": [["db.corp.internal"]],
    "db.corp.internal": [[PRIVATE]],
    "loop.example.com": [[]],
    "rebind.example.com": [[PUBLIC[0]], ["127.0.0.1"]],
    "truncated.example.com": [["truncated"]],
    "proxy.corp.internal": [[PROXY[0]]],
    "files.corp": [[PRIVATE]],
    "ok.example.com.corp.example.org": [[PUBLIC[0]]],
    **{name_of(address): [[address]] for address in FORBIDDEN},
    **{f"hang{number}.example.com": [[]] for number in range(HANGING)},
}


class Trial:
    """Calls under the given outbound rules."""

    def __init__(self, world: World, rules: OutboundRules) -> None:
        self._world = world
        self._outbound = Outbound(rules)
        tls = ssl.create_default_context(cafile=world.trusted)
        self._http = WebhookHttpSettings(tls=tls, outbound=self._outbound)
        self._downloads = self._outbound.client(tls=tls)

    async def post(self, url: str) -> Seen:
        """Send a webhook; return its error and the reached addresses."""
        before = len(self._world.hits)
        began = time.monotonic()
        answer: Answer = await post_webhook(url, {}, b"{}", self._http)
        return {
            "error": answer.error,
            "status": answer.status_code,
            "reached": [hit.to for hit in self._world.hits[before:]],
            "by": [hit.by for hit in self._world.hits[before:]],
            "seconds": time.monotonic() - began,
        }

    async def fetch(self, url: str) -> Seen:
        """Download a provider's file; return the error and the reached addresses."""
        before = len(self._world.hits)
        error = None
        try:
            async with open_source(
                self._downloads, url, max_bytes=1 << 20, total_seconds=10
            ) as chunks:
                async for _ in chunks:
                    pass
        except MediaError as failed:
            error = type(failed).__name__
        return {"error": error, "reached": [hit.to for hit in self._world.hits[before:]]}


async def control(world: World, url: str) -> list[str]:
    """Return the addresses that a plain client reaches."""
    before = len(world.hits)
    async with httpx.AsyncClient(trust_env=False, timeout=5, verify=NO_TLS) as client:
        try:
            await client.get(url)
        except httpx.HTTPError:
            return []
    return [hit.to for hit in world.hits[before:]]


async def hanging(trial: Trial, meanwhile: Callable[[], Awaitable[Seen]]) -> Seen:
    """Look up many names whose server is silent, and meanwhile run all other cases."""
    threads = len(os.listdir("/proc/self/task"))
    stuck = [
        asyncio.create_task(trial.post(f"http://hang{number}.example.com/"))
        for number in range(HANGING)
    ]
    await asyncio.sleep(0.5)
    honest = await trial.post("http://ok.example.com/")
    more_threads = len(os.listdir("/proc/self/task")) - threads
    seen = await meanwhile()
    ended = await asyncio.gather(*stuck)
    seen["hanging"] = {
        "honest": honest,
        "errors": sorted({str(item["error"]) for item in ended}),
        "longest": max(item["seconds"] for item in ended),
        "more_threads": more_threads,
    }
    return seen


async def main() -> Seen:
    world = await World.make(RECORDS)
    plain = Trial(world, OutboundRules())
    seen = await hanging(plain, lambda: everything(world, plain))
    return {**seen, "tunnels": world.tunnels, "asked": world.names.asked}


async def everything(world: World, plain: Trial) -> Seen:
    seen: Seen = {}
    for address in FORBIDDEN:
        seen[f"literal {address}"] = await plain.post(url_of(address))
        seen[f"name {address}"] = await plain.post(f"http://{name_of(address)}/")
        seen[f"file {address}"] = await plain.fetch(url_of(address))
        seen[f"control {address}"] = await control(world, url_of(address))
        seen[f"control name {address}"] = await control(world, f"http://{name_of(address)}/")
    for host in SPELLINGS:
        seen[f"spelling {host}"] = await plain.post(f"http://{host}/")
    for name in NAMES:
        seen[f"forbidden name {name}"] = await plain.post(f"http://{name}/")
    for port in PORTS:
        seen[f"port {port}"] = await plain.post(url_of(PUBLIC[0], port))
        seen[f"control port {port}"] = await control(world, url_of(PUBLIC[0], port))
    for name in (
        "ok",
        "hook",
        "mixed",
        "mixed6",
        "first-dead",
        "chain",
        "bad-chain",
        "rebind",
        "truncated",
        "none",
    ):
        seen[name] = await plain.post(f"http://{name}.example.com/")
    seen["rebind again"] = await plain.post("http://rebind.example.com/")
    seen["control rebind"] = await control(world, "http://rebind.example.com/")
    for address in PUBLIC:
        seen[f"public {address}"] = await plain.post(url_of(address))
    seen["tls"] = await plain.post("https://hook.example.com/")
    seen["tls of another name"] = await plain.post("https://other.example.com/")
    seen["tls of no name"] = await plain.post(f"https://{PUBLIC[0]}/")
    seen["redirect"] = await plain.post(f"http://ok.example.com/to/{url_of(PRIVATE)}")
    seen["file"] = await plain.fetch("http://ok.example.com/film.mp4")
    seen["file redirect"] = await plain.fetch(
        "http://ok.example.com/to/http://hook.example.com/film.mp4"
    )
    for to in (
        url_of(PRIVATE),
        f"http://{name_of(PRIVATE)}/",
        "http://localhost/",
        url_of("::ffff:10.0.0.5"),
    ):
        seen[f"file redirect to {to}"] = await plain.fetch(f"http://ok.example.com/to/{to}")
    seen |= await by_other_rules(world)
    return seen


async def by_other_rules(world: World) -> Seen:
    listed, proxied = Trial(world, LISTED), Trial(world, PROXIED)
    seen: Seen = {}
    seen["listed"] = await listed.post(url_of(PRIVATE, 8090))
    seen["listed, other port"] = await listed.post(url_of(PRIVATE))
    seen["listed, by another name"] = await listed.post(f"http://{name_of(PRIVATE)}:8090/")
    seen["listed name"] = await listed.post("http://files.corp:8090/")
    seen["proxied"] = await proxied.post("http://ok.example.com/")
    seen["proxied tls"] = await proxied.post("https://hook.example.com/")
    seen["proxied tls of another name"] = await proxied.post("https://other.example.com/")
    seen["proxied private name"] = await proxied.post(f"http://{name_of(PRIVATE)}/")
    seen["proxied private name tls"] = await proxied.post(f"https://{name_of(PRIVATE)}/")
    seen["proxied private"] = await proxied.post(url_of(PRIVATE))
    return seen


if __name__ == "__main__":
    configure_logging("ERROR", "text")
    add_addresses()
    sys.stdout.write(json.dumps(uvloop.run(main())))
