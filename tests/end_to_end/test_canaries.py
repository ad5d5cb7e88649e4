"""Secrets are planted, and looked for in everything that the service leaves behind: after success,
failure, retry and crashes, with all processes logging at DEBUG and what Temporal keeps encrypted.
"""

import base64
import os
import secrets
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.store.recovery.start_memo import packed
from tests.end_to_end.sinks import bucket, collect, files_of
from tests.end_to_end.world import MODELS, PROMPT, World
from tests.support.leaks import Leak, find_leaks

pytestmark = pytest.mark.guarantee("G6")

OWN_KEYS = {
    "fal": f"{secrets.token_hex(4)}-0000-4000-8000-{secrets.token_hex(6)}:{secrets.token_hex(16)}"
}

PLANTABLE = {
    "history", "history, decrypted", "database", "log api.log", "object", "object's metadata", "webhook", "answer",
}  # fmt: skip
"""The sinks in which a test can surely plant something."""


def _whsec() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@dataclass(slots=True, kw_only=True)
class Canaries:
    """secrets: by their purpose. answers: all API responses to this user."""

    world: World
    secrets: dict[str, str]
    answers: list[httpx.Response] = field(default_factory=list[httpx.Response])

    @classmethod
    @asynccontextmanager
    async def planted(cls, world: World) -> "AsyncGenerator[Canaries]":
        """Those that the API shows once are made before its answers are kept."""
        keys = world.stack.keys
        made = await _shown(world, "/api/keys", {"name": "second", "scopes": ["read", "generate"]})
        endpoint_secret = _whsec()
        endpoint = await _shown(
            world, "/api/endpoints", {"url": world.receiver.url, "secret": endpoint_secret}
        )
        rotated = await _shown(world, f"/api/endpoints/{endpoint['id']}/rotate-secret", {})
        own = await _shown(world, "/api/webhook-secret/rotate", {})
        canaries = cls(
            world=world,
            secrets={
                "API key": world.user.api_key,
                "another API key": made["apiKey"],
                "webhook secret of the user": world.user.webhook_secret,
                "webhook secret of the user, rotated": own["secret"],
                "webhook secret of an endpoint": endpoint_secret,
                "webhook secret of an endpoint, rotated": rotated["secret"],
                "webhook secret of a request": _whsec(),
                "webhook secret of a request, a text": f"/+{secrets.token_urlsafe(24)}=?",
                "user's own provider key": OWN_KEYS["fal"],
                "a key that is none": f"tko_{secrets.token_urlsafe(40)}",
                "password in an address": secrets.token_urlsafe(16),
                "fal key": keys.sandbox_fal_key,
                "Replicate token": keys.sandbox_replicate_token,
                "Replicate's webhook secret": keys.sandbox_webhook_secret,
                "encryption key": keys.encryption_key,
                "S3 secret": keys.s3_secret_access_key,
                "application's password": keys.application_password,
                "owner's password": keys.postgres_password,
            },
        )

        async def keep(answer: httpx.Response) -> None:
            await answer.aread()
            canaries.answers.append(answer)

        world.api.event_hooks = {"response": [keep]}
        yield canaries

    def to_find(self) -> dict[str, bytes]:
        """The secrets, and what stands behind those that are base64 themselves."""
        found = {name: text.encode() for name, text in self.secrets.items()}
        for name, text in self.secrets.items():
            if text.startswith("whsec_") or name == "encryption key":
                found[f"{name}, its bytes"] = base64.b64decode(text.removeprefix("whsec_"))
        return found


async def _shown(world: World, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await world.api.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


async def _refused(canaries: Canaries) -> None:
    """Secrets where they should not be: the answers say what is wrong, and do not repeat it."""
    world, planted = canaries.world, canaries.secrets
    order: dict[str, Any] = {"prompt": PROMPT, "duration": 2, "resolution": "480p"}
    text = planted["webhook secret of a request, a text"]
    wrong: list[dict[str, Any]] = [
        {**order, "webhook": world.receiver.url, "webhookSecret": text * 10},
        {**order, "webhook": world.receiver.url, "webhookSecret": [text]},
        {**order, "webhook": f"http://user:{planted['password in an address']}@hooks.example.com/"},
        {**order, "apiKey": planted["fal key"]},
        {**order, "duration": planted["API key"]},
    ]
    for body in wrong:
        assert (await world.api.post("/api/generate-video", json=body)).status_code == 422
    broken = await world.api.post(
        "/api/generate-video",
        content=f'{{"webhookSecret": "{text}"',
        headers={"content-type": "application/json"},
    )
    assert 400 <= broken.status_code < 500
    strange = {"authorization": f"Bearer {planted['a key that is none']}"}
    assert (await world.api.get("/api/executions", headers=strange)).status_code == 401
    refused = await world.api.put(
        "/api/provider-keys/nobody", json={"key": planted["user's own provider key"]}
    )
    assert refused.status_code == 404
    refused = await world.api.put(
        "/api/provider-keys/fal", json={"key": planted["user's own provider key"] * 10}
    )
    assert refused.status_code == 422


async def _succeeded(canaries: Canaries) -> str:
    secret = canaries.secrets["webhook secret of a request"]
    return await canaries.world.generate(webhookSecret=secret, **MODELS["fal"])


async def _failed_and_retried(canaries: Canaries) -> str:
    """Its video fails at the provider; what failed is bought again."""
    world = canaries.world
    body = {"webhookSecret": canaries.secrets["webhook secret of a request, a text"]}
    execution_id = await world.caught(
        "fail_after", provider="replicate", params={"seconds": 0.2}, body=body
    )
    assert (await world.ended(execution_id))["status"] == "failed"
    answer = await world.api.post(f"/api/executions/{execution_id}/retry")
    assert answer.status_code == 202, answer.text
    return execution_id


@asynccontextmanager
async def _without_tables(world: World, *tables: str) -> AsyncGenerator[None]:
    """Rename tables as after a failed migration, so that requests fail with unexpected errors."""
    for table in tables:
        await world.rows(f"ALTER TABLE {table} RENAME TO {table}_away")
    try:
        yield
    finally:
        for table in tables:
            await world.rows(f"ALTER TABLE {table}_away RENAME TO {table}")


async def _crashed(canaries: Canaries, execution_id: str, *, killed: bool) -> None:
    """Bugs in the API and in the end of an execution; the worker is killed meanwhile, or not: it
    all continues.
    """
    world = canaries.world
    body = {
        "prompt": PROMPT,
        "webhook": world.receiver.url,
        "webhookSecret": canaries.secrets["fal key"],
    }
    before = _bugs_of_the_worker(world)
    async with _without_tables(world, "idempotency_keys", "webhooks"):
        answer = await world.api.post(
            "/api/generate-video", json=body, headers={"idempotency-key": "k"}
        )
        assert answer.status_code == 500, answer.text

        async def fails() -> bool:
            return _bugs_of_the_worker(world) > before

        await world.until_true(fails, "the worker met no error", seconds=30)
        if killed:
            os.kill(world.stack.pid_of("Worker"), signal.SIGKILL)
    assert (await world.ended(execution_id, seconds=60))["status"] == "completed"


def _bugs_of_the_worker(world: World) -> int:
    return (world.stack.config.logs / "worker.log").read_bytes().count(b"UndefinedTableError")


async def _own_key(canaries: Canaries) -> None:
    """Buy with the user's own key, whatever the provider returns."""
    world = canaries.world
    put = await world.api.put(
        "/api/provider-keys/fal", json={"key": canaries.secrets["user's own provider key"]}
    )
    assert put.status_code == 200, put.text
    assert (await world.api.post("/api/provider-keys/fal/test")).status_code == 200
    execution_id = await world.generate(**MODELS["fal"])
    await world.ended(execution_id)
    assert (await world.api.get("/api/provider-keys")).status_code == 200


async def _show_account(canaries: Canaries) -> None:
    """Everything that shows endpoints, keys and webhooks."""
    world = canaries.world
    for path in ("/api/endpoints", "/api/keys", "/api/webhooks", "/api/executions", "/api/usage"):
        assert (await world.api.get(path)).status_code == 200
    (endpoint,) = (await world.api.get("/api/endpoints")).json()["data"]
    tested = await world.api.post(f"/api/endpoints/{endpoint['id']}/test")
    assert tested.status_code == 202, tested.text
    for webhook in (await world.api.get("/api/webhooks")).json()["data"]:
        assert (await world.api.get(f"/api/webhooks/{webhook['id']}")).status_code == 200


async def _everything(canaries: Canaries, *, killed: bool = False) -> None:
    world = canaries.world
    retried = await _failed_and_retried(canaries)
    succeeded = await _succeeded(canaries)
    await _refused(canaries)
    await _crashed(canaries, succeeded, killed=killed)
    assert (await world.ended(retried))["status"] == "completed"
    await _own_key(canaries)

    async def webhooks_arrived() -> bool:
        return all(world.webhooks_of(execution_id) for execution_id in world.ids)

    await world.until_true(webhooks_arrived, "a webhook is missing", seconds=40)
    await _show_account(canaries)


@pytest.mark.timeout(180)
async def test_secrets_are_in_no_sink(world: World) -> None:
    async with Canaries.planted(world) as canaries:
        await _everything(canaries)
        assert {answer.status_code for answer in canaries.answers} >= {200, 202, 401, 404, 422, 500}
        sinks = await collect(world, canaries.answers, [])
    kinds = {name.partition(" ")[0] for name, _ in sinks}
    assert kinds == {
        "history",
        "history,",
        "database",
        "log",
        "object's",
        "object",
        "webhook",
        "answer",
        "metrics",
        "command",
    }
    assert find_leaks(sinks, canaries.to_find()) == []
    raw = b"".join(content for name, content in sinks if name == "history")
    shown = b"".join(content for name, content in sinks if name == "history, decrypted")
    assert (PROMPT.encode() in raw, PROMPT.encode() in shown) == (False, True)


async def test_planted_leaks_are_found_in_every_sink(world: World) -> None:
    """That the test above can fail."""
    secret = secrets.token_urlsafe(24)
    hidden = base64.b64encode(b"x" + secret.encode())
    client, workflow_id = await world.temporal(), f"planted-{secrets.token_hex(8)}"
    log = world.stack.config.logs / "api.log"
    async with Canaries.planted(world) as canaries:
        await world.ended(await world.generate())
        await world.rows("CREATE TABLE planted (bytes bytea)")
        try:
            await world.rows("INSERT INTO planted VALUES ($1)", hidden)
            await client.start_workflow(
                "nobody", id=workflow_id, task_queue=secret, memo={"a": packed({"b": secret})}
            )
            async with bucket(world) as (s3, name):
                await s3.put_object(
                    Bucket=name, Key="planted", Body=hidden, Metadata={"planted": secret}
                )
            async with httpx.AsyncClient(trust_env=False) as http:
                await http.post(world.receiver.url, content=secret)
            await world.api.get(f"/nothing/{secret}")
            with log.open("ab") as file:
                file.write(hidden)
            found = find_leaks(
                await collect(world, canaries.answers, [workflow_id]), {"planted": secret.encode()}
            )
        finally:
            await world.rows("DROP TABLE planted")
            await client.get_workflow_handle(workflow_id).terminate()
            async with bucket(world) as (s3, name):
                await s3.delete_object(Bucket=name, Key="planted")
    assert {leak.sink for leak in found} >= PLANTABLE


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_secrets_are_in_no_file(world: World) -> None:
    """The same with a worker that is killed; and on the disks of PostgreSQL, Temporal and S3, too:
    their tables, their logs of changes, what they have deleted. A prompt, which is no secret, is
    found in PostgreSQL's.
    """
    async with Canaries.planted(world) as canaries:
        await _everything(canaries, killed=True)
        assert find_leaks(await collect(world, canaries.answers, []), canaries.to_find()) == []
    await world.rows("CHECKPOINT")
    folder: Path = world.stack.config.folder
    found = find_leaks(files_of(folder), {**canaries.to_find(), "a prompt": PROMPT.encode()})
    shown = [leak for leak in found if leak.secret == "a prompt"]
    assert {leak.sink.split("/")[0] for leak in shown} >= {"file postgres"}, (
        "the look into the files finds what is there"
    )
    sandbox = [
        leak for leak in found if leak.sink.startswith("file sandbox/")
    ]  # others' computers: given their own
    assert set(found) - set(sandbox) - set(shown) == set[Leak]()
