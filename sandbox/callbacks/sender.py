"""Callbacks: signed, repeated until acknowledged, and with requested faults."""

import asyncio
import base64
import json
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandbox.callbacks import signatures
from sandbox.faults.book import CALLBACK_HOLDS, CALLBACKS, FaultBook
from sandbox.faults.breakpoints import Breakpoints, ReleaseMode
from sandbox.http.accounts import MAIN, webhook_secret
from sandbox.jobs.bill import timestamp
from sandbox.jobs.store import Job
from sandbox.settings import Json, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An event for one address. `id` is the same on every try."""

    id: str
    job: Job
    event: str  # Replicate: start, output, logs, completed; fal: completed
    body: bytes


class Callbacks:
    """Sender of callbacks; keeps its tries in memory for `GET /__control/callbacks`."""

    def __init__(
        self, *, settings: Callable[[], Settings], faults: FaultBook, breakpoints: Breakpoints,
        fal_key: Ed25519PrivateKey, replicate_secret: str,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._faults = faults
        self._breakpoints = breakpoints
        self._fal_key = fal_key
        self._replicate_secret = replicate_secret
        # Unlike at the vendors, private targets and self-signed certificates are allowed, because
        # the caller is usually on this machine. Like at the vendors, redirects are not followed.
        # A connection for each callback: a vendor sends from many machines, so a load balancer can
        # spread its callbacks.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            verify=False,  # noqa: S501 - see above
            limits=limits,
        )
        self.tries: list[Json] = []

    async def deliver(self, job: Job, event: str, body: Json) -> bool:
        """Send an event; repeat the last event of a job. Return whether it was acknowledged."""
        if job.callback_url is None or not self._settings().callbacks:
            return False
        message = Message(
            id=f"msg_{uuid.uuid4().hex}", job=job, event=event, body=json.dumps(body).encode()
        )
        if await self._wait_if_held(job) != "go_on":
            self._record(message, number=0, outcome="lost", status=None)
            return False
        job.reported_state = "ended" if job.ended else job.reported_state
        fault = self._faults.take(
            job.provider, job.model, "callback", CALLBACKS, provider_job_id=job.id
        )
        if fault is not None and fault.fault == "callback_lost":
            self._record(message, number=0, outcome="lost", status=None)
            return False
        if fault is not None and fault.fault == "callback_late":
            await asyncio.sleep(float(fault.params.get("seconds", 5)))
        if fault is not None and fault.fault == "callback_forged":
            await self._try(message, number=1, forged=True)
            if not fault.params.get("also", False):
                return False
        acknowledged = await self._send_with_retries(message)
        if fault is not None and fault.fault == "callback_duplicate":
            for number in range(int(fault.params.get("copies", 1))):
                await self._try(message, number=number + 2)
        return acknowledged

    async def _wait_if_held(self, job: Job) -> ReleaseMode:
        fault = self._faults.take(
            job.provider, job.model, "callback", CALLBACK_HOLDS, provider_job_id=job.id
        )
        if fault is None:
            return "go_on"
        return await self._breakpoints.hold(
            fault.id, {"provider_job_id": job.id}, lambda: False, None
        )

    async def _send_with_retries(self, message: Message) -> bool:
        waits = self._settings().callback_retry_seconds if message.event == "completed" else []
        for number, wait in enumerate([*waits, None], start=1):
            status = await self._try(message, number=number)
            if status is not None and 200 <= status < 300:
                return True
            if status is not None and 300 <= status < 400:  # a redirect is a permanent failure
                return False
            if wait is not None:
                await asyncio.sleep(wait)
        return False

    async def _try(self, message: Message, *, number: int, forged: bool = False) -> int | None:
        """Send once; return the receiver's status, or None if it is unreachable."""
        status, outcome = None, "forged" if forged else "sent"
        try:
            response = await self._client.post(
                str(message.job.callback_url),
                content=message.body,
                headers={"Content-Type": "application/json"} | self._signed(message, forged=forged),
                timeout=self._settings().callback_timeout_seconds,
            )
            status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            outcome = f"{outcome}: {type(error).__name__}"
        self._record(message, number=number, outcome=outcome, status=status)
        return status

    def _signed(self, message: Message, *, forged: bool) -> dict[str, str]:
        now = int(time.time())
        if message.job.provider == "fal":
            return signatures.fal_headers(
                Ed25519PrivateKey.generate() if forged else self._fal_key,
                request_id=message.job.id, user_id=_user_id(message.job.account), unix_seconds=now, body=message.body,
            )  # fmt: skip
        secret = webhook_secret(self._replicate_secret, message.job.account)
        if forged:
            secret = f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"
        return signatures.replicate_headers(
            secret, webhook_id=message.id, unix_seconds=now, body=message.body
        )

    def _record(self, message: Message, *, number: int, outcome: str, status: int | None) -> None:
        self.tries.append(
            {
                "time": timestamp(time.time()),
                "provider": message.job.provider,
                "provider_job_id": message.job.id,
                "url": message.job.callback_url,
                "event": message.event,
                "message_id": message.id,
                "try": number,
                "outcome": outcome,
                "status": status,
            }
        )

    async def close(self) -> None:
        await self._client.aclose()


def _user_id(account: str) -> str:
    return signatures.FAL_USER_ID if account == MAIN else f"{signatures.FAL_USER_ID}-{account}"
