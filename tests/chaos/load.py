"""Customers that order videos, and the webhooks that they receive."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.chaos.testbed import Testbed

PATIENCE_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Order:
    """One request.

    number: in its prompt, so that a line of the provider's bill can be assigned.
    execution_id: from the 202; None: not accepted. Times by the wall clock.
    """

    number: int
    began_at: float
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
    """Makes orders, and repeats failed requests with the same idempotency key."""

    testbed: Testbed
    orders: list[Order] = field(default_factory=list[Order])
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set["asyncio.Task[None]"])

    def order(self) -> Order:
        """Begin one more order; it is repeated in the background until it is accepted."""
        order = Order(number=len(self.orders) + 1, began_at=time.time())
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
        body = {
            "prompt": f"{order.token}: a red kite over a grey harbour",
            "duration": 2,
            "resolution": "480p",
            "webhook": f"{self.testbed.receiver_url}/hook",
        }
        headers = {"authorization": f"Bearer {customer.api_key}", "idempotency-key": order.token}
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            try:
                # A connection for each attempt: the next one may reach the other API.
                async with httpx.AsyncClient(trust_env=False, verify=False, timeout=10) as http:
                    answer = await http.post(
                        f"{self.testbed.api_url}/api/generate-video", json=body, headers=headers
                    )
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

    def delivered(self, execution_id: str | None) -> Arrival | None:
        """Return the first delivery that the receiver acknowledged."""
        arrivals = self.of.get(execution_id or "", [])
        return next((arrival for arrival in arrivals if not arrival.held), None)
