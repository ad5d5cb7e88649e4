"""The control routes: faults, settings, the bill and records of past calls.

They need no key, so they have a port of their own: serve it on a loopback address only.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sandbox.callbacks.sender import Callbacks
from sandbox.faults.book import Fault, FaultBook, FaultError
from sandbox.faults.breakpoints import RELEASE_MODES, Breakpoints
from sandbox.http.exchange import json_response
from sandbox.http.route_context import RouteContext
from sandbox.jobs.requests import Copy
from sandbox.jobs.store import job_view
from sandbox.settings import Json, Settings, SettingsError, as_object, with_changes


class ActiveSettings:
    """The settings in force and those to return to on a reset."""

    def __init__(self, initial: Settings) -> None:
        self.initial = initial
        self.current = initial


class Control:
    """The routes below `/__control`."""

    def __init__(
        self,
        settings: ActiveSettings,
        context: RouteContext,
        faults: FaultBook,
        breakpoints: Breakpoints,
        callbacks: Callbacks,
    ) -> None:
        self._settings = settings
        self._context = context
        self._faults = faults
        self._breakpoints = breakpoints
        self._callbacks = callbacks

    def routes(self) -> list[BaseRoute]:
        def route(
            path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str = "GET"
        ) -> Route:
            return Route(f"/__control/{path}", endpoint, methods=[method])

        return [
            route("bill", self.bill),
            route("jobs", self.jobs),
            route("jobs", self.copy_job, "POST"),
            route("callbacks", self.callbacks),
            route("requests", self.requests),
            route("calls", self.calls),
            route("call-counts", self.call_counts),
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
        return json_response(self._context.runner.bill.view())

    async def jobs(self, request: Request) -> Response:
        return json_response({"jobs": [job_view(job) for job in self._context.jobs.all()]})

    async def copy_job(self, request: Request) -> Response:
        """Create jobs like an existing one, without a create call each."""
        order = await _object(request)
        like = self._context.jobs.find(order.get("like", ""))
        if like is None:
            return json_response({"error": "like must be the id of a job"}, 422)
        try:
            copies = [Copy(**copy) for copy in order.get("copies", ())]
        except TypeError as error:
            return json_response({"error": str(error)}, 422)
        jobs = await self._context.runner.accept_like(like, copies)
        return json_response({"ids": [job.id for job in jobs]}, 201)

    async def callbacks(self, request: Request) -> Response:
        return json_response({"callbacks": self._callbacks.tries})

    async def requests(self, request: Request) -> Response:
        return json_response(self._context.requests_view())

    async def calls(self, request: Request) -> Response:
        return json_response({"calls": list(self._context.exchange.calls)})

    async def call_counts(self, request: Request) -> Response:
        return json_response({"counts": dict(self._context.exchange.call_counts)})

    async def settings(self, request: Request) -> Response:
        return json_response(asdict(self._settings.current))

    async def change_settings(self, request: Request) -> Response:
        try:
            self._settings.current = with_changes(self._settings.current, await _object(request))
        except (SettingsError, ValueError) as error:
            return json_response({"error": str(error)}, 422)
        return json_response(asdict(self._settings.current))

    async def faults(self, request: Request) -> Response:
        return json_response({"faults": [self._view(fault) for fault in self._faults.all()]})

    def _view(self, fault: Fault) -> Json:
        calls = self._breakpoints.views(fault.id)
        held = sum(call["state"] == "parked" for call in calls)
        return fault.view() | {"parked": held, "parked_total": len(calls), "parked_calls": calls}

    async def release(self, request: Request) -> Response:
        order = as_object(json.loads(await request.body() or b"{}")) or {}
        fault_id, how = order.get("id"), order.get("how", "go_on")
        if (
            set(order) - {"id", "how"}
            or how not in RELEASE_MODES
            or not isinstance(fault_id, str | None)
        ):
            return json_response(
                {
                    "error": f"id must be a fault's id or absent, and how one of {', '.join(RELEASE_MODES)}"
                },
                422,
            )
        return json_response({"released": self._breakpoints.release(fault_id, how)})

    async def add_fault(self, request: Request) -> Response:
        try:
            fault = self._faults.add(await _object(request))
        except (FaultError, ValueError) as error:
            return json_response({"error": str(error)}, 422)
        return json_response(self._view(fault), 201)

    async def remove_faults(self, request: Request) -> Response:
        self._faults.clear()
        self._breakpoints.release(None, "go_on")
        return Response(status_code=204)

    async def remove_fault(self, request: Request) -> Response:
        removed = self._faults.remove(request.path_params["id"])
        self._breakpoints.release(request.path_params["id"], "go_on")
        return (
            Response(status_code=204) if removed else json_response({"error": "no such fault"}, 404)
        )

    async def reset(self, request: Request) -> Response:
        """Delete all jobs and records, start a new bill file and restore the initial settings."""
        self._breakpoints.clear()
        await self._context.runner.stop()
        await self._context.runner.bill.rotate()
        self._context.jobs.clear()
        self._context.clear()
        self._context.exchange.calls.clear()
        self._context.exchange.call_counts.clear()
        self._faults.clear()
        self._callbacks.tries.clear()
        self._settings.current = self._settings.initial
        return Response(status_code=204)

    async def health(self, request: Request) -> Response:
        return json_response({"status": "ok"})


async def _object(request: Request) -> Json:
    body = as_object(json.loads(await request.body()))
    if body is None:
        raise ValueError("the body must be a JSON object")
    return body
