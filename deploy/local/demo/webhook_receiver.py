"""A webhook receiver as a customer would write it: it verifies both signatures of every request."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

MAX_BODY_BYTES = 1_000_000


class BadWebhookError(ValueError):
    """A signature is missing or invalid; the message names the failed check."""


@dataclass(slots=True)
class Inbox:
    """Requests received at `url`: verified events, and the reasons for rejecting others."""

    url: str
    secret: str
    events: asyncio.Queue[dict[str, Any]] = field(
        default_factory=lambda: asyncio.Queue[dict[str, Any]]()
    )
    refused: list[str] = field(default_factory=lambda: list[str]())

    async def event_of(self, execution_id: str) -> dict[str, Any]:
        """Wait for the event of this execution and skip events of earlier runs."""
        while True:
            event = await self.events.get()
            if event.get("executionId") == execution_id:
                return event


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Return the event in a webhook.

    Raise BadWebhookError unless both of its signatures are valid.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    try:
        Webhook(secret).verify(body, lowered)
    except (WebhookVerificationError, ValueError) as error:
        raise BadWebhookError(f"Standard Webhooks: {error}") from None
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), lowered.get("x-webhook-signature", "").encode()):
        raise BadWebhookError("X-Webhook-Signature does not match the body")
    return json.loads(body)


@contextmanager
def receiving(secret: str, port: int) -> Generator[Inbox]:
    """Listen on a loopback port in a separate thread; 0: any free port.

    Requires a running event loop.
    """
    loop = asyncio.get_running_loop()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(min(length, MAX_BODY_BYTES))
            try:
                event = verify(secret, dict(self.headers.items()), body)
            except BadWebhookError as error:
                inbox.refused.append(str(error))
                self.send_error(400)
                return
            self.send_response(204)
            self.end_headers()
            loop.call_soon_threadsafe(inbox.events.put_nowait, event)

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing: the terminal belongs to the demo."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    inbox = Inbox(url=f"http://127.0.0.1:{server.server_address[1]}/webhook", secret=secret)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield inbox
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
