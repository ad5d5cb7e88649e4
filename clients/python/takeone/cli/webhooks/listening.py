"""Forward webhooks to a receiver on this machine or in its network."""

import ipaddress
import socket
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from takeone.cli._core import output
from takeone.cli._core.app import App, Command, pass_app
from takeone.cli._core.exits import Exit, StopError

if TYPE_CHECKING:
    import httpx

    from takeone.models.webhooks import Offer

ANSWER_SECONDS = 13.0
"""Less than the 15 seconds in which the result must be reported."""
EXCERPT_CHARS = 1024


@click.command(cls=Command)
@click.option(
    "--forward-to",
    "url",
    required=True,
    metavar="URL",
    help="Your receiver: http or https, a loopback or private address.",
)
@click.option("--events", metavar="TYPES", help="Forward these types only, with commas between.")
@click.option(
    "--latest",
    type=click.IntRange(0, 20),
    default=0,
    metavar="N",
    help="Forward the account's last N webhooks first.",
)
@click.option("--print-secret", is_flag=True, help="Print the secret alone on standard output.")
@pass_app
def listen(app: App, url: str, events: str | None, latest: int, print_secret: bool) -> None:
    """Forward webhooks to a receiver on your machine, until Ctrl-C.

    Executions without a webhook come here meanwhile. Each attempt stands in the delivery log.
    """
    import httpx

    check_receiver(url)
    types = frozenset(part.strip() for part in (events or "").split(",") if part.strip())
    endpoint = app.client.endpoints.create(
        kind="stream",
        default=True,
        description=f"takeone webhooks listen on {socket.gethostname()}",
    )
    try:
        if print_secret:
            output.say(endpoint.secret)
            sys.stdout.flush()
        else:
            output.note(f"Signing secret: {endpoint.secret}")
        output.note(f"Ready. Executions without a webhook are forwarded to {url}")
        with httpx.Client(timeout=ANSWER_SECONDS, trust_env=False) as http:
            for offer in app.client.endpoints.listen(endpoint.id, latest=latest):
                _forward(app, endpoint.id, offer, Forwarding(http, url, types))
    except KeyboardInterrupt:
        raise StopError(Exit.INTERRUPTED, reported=True) from None
    finally:
        _delete(app, endpoint.id)


def _delete(app: App, endpoint_id: str) -> None:
    """Delete the endpoint. The service deletes it by itself when no listener comes back."""
    from takeone.errors import CallError

    try:
        app.client.endpoints.delete(endpoint_id)
    except CallError as error:
        output.note(f"The endpoint {endpoint_id} stays for a while: {error}")


def check_receiver(url: str) -> None:
    """Raise StopError unless the URL is of a loopback or private address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        raise StopError(Exit.USAGE, f"{url} is no http or https URL.") from None
    if parts.scheme not in ("http", "https") or not host:
        raise StopError(Exit.USAGE, f"{url} is no http or https URL.")
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise StopError(Exit.USAGE, f"The host {host} is not known.") from None
    addresses = {ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in entries}
    if not all(address.is_loopback or address.is_private for address in addresses):
        raise StopError(
            Exit.USAGE,
            f"{host} is a public address. Use an endpoint for it: `takeone endpoints add {url}`.",
        )


@dataclass(frozen=True)
class Forwarding:
    """Where webhooks go. types: of those that are forwarded; none: all."""

    http: "httpx.Client"
    url: str
    types: Collection[str]


@dataclass(frozen=True)
class Result:
    """What the receiver answered. error: why there is no answer."""

    duration_ms: int
    status_code: int | None = None
    error: str | None = None
    excerpt: str = ""

    @property
    def text(self) -> str:
        return f"-> {self.status_code or self.error} in {self.duration_ms} ms"


def _forward(app: App, endpoint_id: str, offer: "Offer", to: Forwarding) -> None:
    from takeone.errors import CallError

    if to.types and offer.type not in to.types:
        result = Result(0, 200, excerpt="not forwarded: --events")
        shown = "not forwarded"
    else:
        result = _post(offer, to)
        shown = result.text
    if app.json:
        output.line(
            {
                "id": offer.id,
                "type": offer.type,
                "statusCode": result.status_code,
                "error": result.error,
                "durationMs": result.duration_ms,
            }
        )
    else:
        output.say(f"{offer.type} {offer.id} {shown}")
    sys.stdout.flush()
    if not offer.number:
        return
    try:
        app.client.endpoints.report(
            endpoint_id,
            offer,
            duration_ms=result.duration_ms,
            status_code=result.status_code,
            error=result.error,
            excerpt=result.excerpt,
        )
    except CallError as error:
        output.note(f"The result of {offer.id} is not recorded: {error}")


def _post(offer: "Offer", to: Forwarding) -> Result:
    """POST a webhook once, without redirects."""
    import httpx

    began = time.monotonic()

    def passed() -> int:
        return round((time.monotonic() - began) * 1000)

    try:
        answer = to.http.post(to.url, content=offer.body.encode(), headers=offer.headers)
    except httpx.TimeoutException:
        return Result(passed(), error="timed_out")
    except httpx.ConnectError as problem:
        refused = isinstance(problem.__context__, ConnectionRefusedError) or "refused" in str(
            problem
        )
        return Result(passed(), error="connection_refused" if refused else "connection_failed")
    except (httpx.HTTPError, ValueError):
        return Result(passed(), error="no_valid_answer")
    return Result(passed(), answer.status_code, excerpt=answer.text[:EXCERPT_CHARS])
