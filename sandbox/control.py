"""The test bench: faults, settings, the bill, and what has happened so far. No key:
loopback only.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sandbox.callbacks.sender import Callbacks
from sandbox.faults.book import Fault, FaultBook, FaultError
from sandbox.faults.breakpoints import HOWS, ParkingLot
from sandbox.http.exchange import json_answer
from sandbox.http.route_context import Desk
from sandbox.jobs.store import job_view
from sandbox.settings import Json, Settings, SettingsError, as_object, changed


class Switchboard:
    """The settings in force."""

    def __init__(self, start: Settings) -> None:
        self.start = start
        self.now = start


class Control:
    def __init__(
        self,
        switchboard: Switchboard,
        desk: Desk,
        faults: FaultBook,
        lot: ParkingLot,
        callbacks: Callbacks,
    ) -> None:
        self._switchboard = switchboard
        self._desk = desk
        self._faults = faults
        self._lot = lot
        self._callbacks = callbacks

    def routes(self) -> list[BaseRoute]:
        def route(
            path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str = "GET"
        ) -> Route:
            return Route(f"/__control/{path}", endpoint, methods=[method])

        return [
            route("bill", self.bill),
            route("jobs", self.jobs),
            route("callbacks", self.callbacks),
            route("requests", self.requests),
            route("calls", self.calls),
            route("settings", self.settings),
            route("settings", self.change_settings, "PUT"),
            route("faults", self.faults),
            route("faults", self.add_fault, "POST"),
            route("faults", self.remove_faults, "DELETE"),
            route("faults/{id}", self.remove_fault, "DELETE"),
            route("release", self.release, "POST"),
            route("reset", self.reset, "POST"),
            route("health", self.health),
        ]

    async def bill(self, request: Request) -> Response:
        return json_answer(self._desk.workshop.bill.view())

    async def jobs(self, request: Request) -> Response:
        return json_answer({"jobs": [job_view(job) for job in self._desk.jobs.all()]})

    async def callbacks(self, request: Request) -> Response:
        return json_answer({"callbacks": self._callbacks.tries})

    async def requests(self, request: Request) -> Response:
        return json_answer(self._desk.requests_view())

    async def calls(self, request: Request) -> Response:
        return json_answer({"calls": list(self._desk.exchange.calls)})

    async def settings(self, request: Request) -> Response:
        return json_answer(asdict(self._switchboard.now))

    async def change_settings(self, request: Request) -> Response:
        try:
            self._switchboard.now = changed(self._switchboard.now, await _object(request))
        except (SettingsError, ValueError) as error:
            return json_answer({"error": str(error)}, 422)
        return json_answer(asdict(self._switchboard.now))

    async def faults(self, request: Request) -> Response:
        return json_answer({"faults": [self._view(fault) for fault in self._faults.all()]})

    def _view(self, fault: Fault) -> Json:
        calls = self._lot.views(fault.id)
        held = sum(call["state"] == "parked" for call in calls)
        return fault.view() | {"parked": held, "parked_total": len(calls), "parked_calls": calls}

    async def release(self, request: Request) -> Response:
        order = as_object(json.loads(await request.body() or b"{}")) or {}
        fault_id, how = order.get("id"), order.get("how", "go_on")
        if set(order) - {"id", "how"} or how not in HOWS or not isinstance(fault_id, str | None):
            return json_answer(
                {"error": f"id is of a fault, or absent; how one of {', '.join(HOWS)}"}, 422
            )
        return json_answer({"released": self._lot.release(fault_id, how)})

    async def add_fault(self, request: Request) -> Response:
        try:
            fault = self._faults.add(await _object(request))
        except (FaultError, ValueError) as error:
            return json_answer({"error": str(error)}, 422)
        return json_answer(self._view(fault), 201)

    async def remove_faults(self, request: Request) -> Response:
        self._faults.clear()
        self._lot.release(None, "go_on")
        return Response(status_code=204)

    async def remove_fault(self, request: Request) -> Response:
        removed = self._faults.remove(request.path_params["id"])
        self._lot.release(request.path_params["id"], "go_on")
        return (
            Response(status_code=204) if removed else json_answer({"error": "no such fault"}, 404)
        )

    async def reset(self, request: Request) -> Response:
        """Forget everything and begin a new bill file; settings are as at the start again."""
        self._lot.clear()
        await self._desk.workshop.stop()
        await self._desk.workshop.bill.start_anew()
        self._desk.jobs.clear()
        self._desk.clear()
        self._desk.exchange.calls.clear()
        self._faults.clear()
        self._callbacks.tries.clear()
        self._switchboard.now = self._switchboard.start
        return Response(status_code=204)

    async def health(self, request: Request) -> Response:
        return json_answer({"status": "ok"})


async def _object(request: Request) -> Json:
    body = as_object(json.loads(await request.body()))
    if body is None:
        raise ValueError("a JSON object is expected")
    return body
