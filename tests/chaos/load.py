"""Customers that order files of all kinds, and the webhooks that they receive."""

import asyncio
import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.chaos.kinds import VIDEO, Kind, recording
from tests.chaos.testbed import Testbed

PATIENCE_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Order:
    """One request.

    number: in its prompt and its webhook's address, so that a line of the provider's bill and a row
    can be assigned. execution_id: from the 202; None: not accepted. Times by the wall clock.
    """

    number: int
    began_at: float
    kind: Kind = VIDEO
    source: str | None = None
    execution_id: str | None = None
    accepted_at: float | None = None
    refused: str = ""

    @property
    def token(self) -> str:
        return f"chaos-{self.number:06d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One webhook delivery.

    held: the receiver did not accept it: it never responded, or refused.
    """

    at: float
    event_id: str
    held: bool
    body: str


@dataclass(slots=True)
class Customers:
    """Makes orders, and repeats failed requests with the same idempotency key.

    uploads: the token by the SHA-256 of each uploaded file.
    """

    testbed: Testbed
    orders: list[Order] = field(default_factory=list[Order])
    uploads: dict[str, str] = field(default_factory=dict[str, str])
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set["asyncio.Task[None]"])

    def order(self, kind: Kind) -> Order:
        """Begin one more order; it is repeated in the background until it is accepted."""
        order = Order(number=len(self.orders) + 1, began_at=time.time(), kind=kind)
        self.orders.append(order)
        task = asyncio.create_task(self._insist(order))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return order

    async def all_answered(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _insist(self, order: Order) -> None:
        customer = self.testbed.customers[order.number % len(self.testbed.customers)]
        headers = {"authorization": f"Bearer {customer.api_key}"}
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            try:
                # A connection for each attempt: the next one may reach the other API.
                async with httpx.AsyncClient(
                    base_url=f"{self.testbed.api_url}/api",
                    headers=headers,
                    trust_env=False,
                    verify=False,
                    timeout=10,
                ) as http:
                    answer = await self._send(http, order)
            except httpx.TransportError as error:
                order.refused = type(error).__name__
            else:
                if answer.status_code == 202:
                    order.execution_id = answer.json()["executionId"]
                    order.accepted_at = time.time()
                    return
                order.refused = f"{answer.status_code} {answer.text[:200]}"
                # 409: the request of a dead connection is still in progress.
                if answer.status_code < 500 and answer.status_code != 409:
                    return
            await asyncio.sleep(0.3)

    async def _send(self, http: httpx.AsyncClient, order: Order) -> httpx.Response:
        """Send the order, after its upload. Return the response of the first that is refused."""
        kind = order.kind
        if kind.uploads and order.source is None:
            content = recording(order.token)
            self.uploads[hashlib.sha256(content).hexdigest()] = order.token
            uploaded = await http.post("/assets", files={"file": ("recording.wav", content)})
            if not uploaded.is_success:
                return uploaded
            order.source = uploaded.json()["id"]
        source = {} if order.source is None else {"source": {"asset": order.source}}
        webhook = f"{self.testbed.receiver_url}/hook/{order.token}"
        return await http.post(
            f"/{kind.route}",
            json={**kind.body(order.token), **source, "webhook": webhook},
            headers={"idempotency-key": order.token},
        )


class Mailbox:
    """The receiver's log, read incrementally."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = 0
        self._rest = b""
        self.of: dict[str, list[Arrival]] = {}

    def look(self) -> None:
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            plain = json.loads(line)
            execution_id: str = json.loads(plain["body"])["executionId"]
            arrival = Arrival(
                at=plain["t"], event_id=plain["id"], held=plain["held"], body=plain["body"]
            )
            self.of.setdefault(execution_id, []).append(arrival)

    def waiting(self, orders: Iterable[Order]) -> list[Order]:
        """Return the orders whose webhook has not been acknowledged."""
        return [order for order in orders if self.delivered(order.execution_id) is None]

    def delivered(self, execution_id: str | None) -> Arrival | None:
        """Return the first delivery that the receiver acknowledged."""
        arrivals = self.of.get(execution_id or "", [])
        return next((arrival for arrival in arrivals if not arrival.held), None)
