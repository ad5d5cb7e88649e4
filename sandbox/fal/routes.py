"""The routes of fal: the queue API, the sync endpoint, history, prices and the key set."""

import json
import math
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from sandbox.callbacks.signatures import key_set
from sandbox.fal import responses
from sandbox.http.accounts import account_of, is_refused
from sandbox.http.exchange import json_response
from sandbox.http.route_context import RouteContext
from sandbox.jobs.requests import CreateRequest
from sandbox.jobs.store import Job
from sandbox.models.catalogue import MODELS, find_model
from sandbox.models.fields import violations
from sandbox.settings import DAY_SECONDS, Json, as_object

SYNC_SECONDS = 600.0
HISTORY_SECONDS = DAY_SECONDS
PAYLOAD_LIFE_SECONDS = 30 * DAY_SECONDS


class Fal:
    """The routes below `/fal`."""

    def __init__(
        self, context: RouteContext, key: Ed25519PrivateKey, expected_key: str | None
    ) -> None:
        self._context = context
        self._key = key
        self._expected_key = expected_key

    def routes(self) -> list[BaseRoute]:
        app = "/fal/queue/{owner}/{app}/requests/{request_id}"
        return [
            Route(f"{app}/status", self.status, methods=["GET"]),
            Route(f"{app}/status/stream", self.stream, methods=["GET"]),
            Route(f"{app}/cancel", self.cancel, methods=["PUT"]),
            Route(f"{app}/response", self.result, methods=["GET"]),
            Route(app, self.result, methods=["GET"]),
            Route("/fal/queue/{endpoint_id:path}", self.submit, methods=["POST"]),
            Route("/fal/run/{endpoint_id:path}", self.run, methods=["POST"]),
            Route("/fal/api/v1/models/requests/by-endpoint", self.history, methods=["GET"]),
            Route("/fal/api/v1/models/pricing", self.pricing, methods=["GET"]),
            Route("/fal/.well-known/jwks.json", self.keys, methods=["GET"]),
        ]

    def _key_refusal(self, request: Request) -> Response | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "key" or not key.strip():
            return json_response({"detail": responses.REFUSALS[401]}, 401)
        if is_refused(request, self._expected_key, self._context.runner.settings().revoked_keys):
            return json_response({"detail": "Invalid Key Authentication"}, 401)
        return None

    async def submit(self, request: Request) -> Response:
        endpoint_id = request.path_params["endpoint_id"]
        self._context.count_create(
            request, "fal", endpoint_id, request.query_params.get("fal_webhook")
        )
        return await self._context.exchange(
            request,
            "fal",
            endpoint_id,
            "create",
            lambda: self._accept(request, endpoint_id, sync=False),
        )

    async def run(self, request: Request) -> Response:
        endpoint_id = request.path_params["endpoint_id"]
        self._context.count_create(
            request, "fal", endpoint_id, request.query_params.get("fal_webhook")
        )
        return await self._context.exchange(
            request,
            "fal",
            endpoint_id,
            "create",
            lambda: self._accept(request, endpoint_id, sync=True),
        )

    async def _accept(self, request: Request, endpoint_id: str, *, sync: bool) -> Response:
        if (refused := self._key_refusal(request)) is not None:
            return refused
        model = find_model("fal", endpoint_id)
        if model is None:
            return json_response(
                {"detail": f"Application '{endpoint_id.split('/')[-1]}' not found"}, 404
            )
        body = await _json_object(request)
        if body is None:
            detail = {
                "loc": ["body"],
                "msg": "Input should be a valid dictionary",
                "type": "dict_type",
                "input": None,
            }
            return json_response({"detail": [detail]}, 422)
        broken = violations(model.fields, body)
        if broken and (sync or self._context.runner.settings().fal_validates_at_submit):
            return json_response(
                {"detail": responses.invalid(broken, body)}, 422, {"X-Fal-Retryable": "false"}
            )
        full = request.query_params.get("fal_max_queue_length")
        if full is not None and full.isdigit() and self._queued() > int(full):
            return responses.refusal(429, {})
        job = await self._context.runner.accept(
            CreateRequest(
                model=model,
                input=body,
                base_url=self._context.base_url(request),
                account=account_of(request),
                callback_url=None if sync else _callback_url(request),
                start_within_seconds=_number(request.headers.get("x-fal-request-timeout")),
                result_life_seconds=_life(request.headers.get("x-fal-object-lifecycle-preference")),
                stores_io=request.headers.get("x-fal-store-io") != "0",
            )
        )
        if sync:
            await self._context.runner.wait_for(job, lambda: job.ended, SYNC_SECONDS)
            return responses.result(job, self._context.base_url(request))
        return json_response(
            responses.submitted(job, self._context.base_url(request), self._position(job))
        )

    def _queued(self) -> int:
        return sum(
            job.provider == "fal" and job.state == "queued" for job in self._context.runner.live()
        )

    def _position(self, job: Job) -> int:
        if job.state != "queued":
            return 0
        ahead = (other for other in self._context.runner.live() if other.state == "queued")
        return sum(
            other.model == job.model and other.created_at < job.created_at for other in ahead
        )

    def _find(self, request: Request) -> Job | None:
        job = self._context.jobs.find(request.path_params["request_id"])
        app = f"{request.path_params['owner']}/{request.path_params['app']}"
        if job is None or job.provider != "fal" or responses.app_of(job.model) != app:
            return None
        return job if job.account == account_of(request) else None

    async def _for_job(self, request: Request, operation: str, answer: Any) -> Response:
        """Return `answer(job)` for the job in the address, or an error for a wrong key or id."""
        job = self._find(request)

        async def handler() -> Response:
            if (refused := self._key_refusal(request)) is not None:
                return refused
            if job is None:
                return json_response({"status": "NOT_FOUND"}, 404)
            return await answer(job)

        return await self._context.exchange(
            request, "fal", job.model if job else None, operation, handler
        )

    async def status(self, request: Request) -> Response:
        with_logs = request.query_params.get("logs", "").lower() in {"1", "true"}

        async def answer(job: Job) -> Response:
            reported = self._context.as_reported(job)
            return responses.status(
                reported,
                self._context.base_url(request),
                self._position(reported),
                with_logs=with_logs,
            )

        return await self._for_job(request, "status", answer)

    async def stream(self, request: Request) -> Response:
        base_url = self._context.base_url(request)

        async def answer(job: Job) -> Response:
            async def events() -> AsyncIterator[str]:
                while True:
                    state = job.state
                    text = bytes(
                        responses.status(job, base_url, self._position(job), with_logs=True).body
                    ).decode()
                    yield f"data: {text}\n\n"
                    if job.ended:
                        return
                    await self._context.runner.wait_for(
                        job, lambda seen=state: job.state != seen, SYNC_SECONDS
                    )

            return StreamingResponse(events(), media_type="text/event-stream")

        return await self._for_job(request, "status", answer)

    async def result(self, request: Request) -> Response:
        async def answer(job: Job) -> Response:
            return responses.result(job, self._context.base_url(request))

        return await self._for_job(request, "result", answer)

    async def cancel(self, request: Request) -> Response:
        async def answer(job: Job) -> Response:
            if job.ended:
                return json_response({"status": "ALREADY_COMPLETED"}, 400)
            was_queued = job.state == "queued"
            if not self._context.cancel_loses(job):
                await self._context.runner.cancel(job)
            elif was_queued:
                was_queued = False
            return (
                json_response({"status": "OK"})
                if was_queued
                else json_response({"status": "CANCELLATION_REQUESTED"}, 202)
            )

        return await self._for_job(request, "cancel", answer)

    async def history(self, request: Request) -> Response:
        names = _list_parameter(request, "endpoint_id")

        async def handler() -> Response:
            if (refused := self._key_refusal(request)) is not None:
                return refused
            return self._history(request, names)

        return await self._context.exchange(
            request, "fal", names[0] if names else None, "list", handler
        )

    def _history(self, request: Request, names: list[str]) -> Response:
        query = request.query_params
        behind = self._context.runner.settings().clock_behind_seconds
        if not names:
            error = {"type": "validation_error", "message": "endpoint_id: Required"}
            return json_response({"error": error}, 400)
        try:
            start = _parse_time(
                query.get("start"),
                time.time() - HISTORY_SECONDS * (90 if "request_id" in query else 1),
            )
            end = _parse_time(query.get("end"), math.inf)
            limit = min(100, max(1, int(query.get("limit", "50"))))
            offset = int(query.get("cursor", "0"))
        except ValueError as error:
            return json_response(
                {"error": {"type": "validation_error", "message": str(error)}}, 400
            )
        shown = [
            job
            for listed in self._visible_jobs()
            if (job := listed.shown_earlier(behind)).model in names
            and job.account == account_of(request)
            and start <= (job.ended_at or job.created_at)
            and job.created_at < end
            and query.get("request_id") in {None, job.id}
            and query.get("status") in {None, _outcome(job)}
        ]
        shown.sort(key=lambda job: job.ended_at or math.inf, reverse=True)
        page = shown[offset : offset + limit]
        more = offset + limit < len(shown)
        payloads = "payloads" in _list_parameter(request, "expand")
        return json_response(
            {
                "items": [
                    responses.history_item(job, payloads=payloads and self._has_payload(job))
                    for job in page
                ],
                "next_cursor": str(offset + limit) if more else None,
                "has_more": more,
            }
        )

    def _visible_jobs(self) -> list[Job]:
        """Return the jobs that history shows under the current settings."""
        settings, now = self._context.runner.settings(), time.time()
        if settings.history_hidden:
            return []
        latest = now - settings.history_lag_seconds
        if settings.history_hides_running:
            return [
                job for job in self._context.jobs.all("fal") if (job.ended_at or math.inf) <= latest
            ]
        return [job for job in self._context.jobs.all("fal") if job.created_at <= latest]

    def _has_payload(self, job: Job) -> bool:
        life = self._context.runner.settings().data_life_seconds or PAYLOAD_LIFE_SECONDS
        return (job.ended_at or math.inf) + life > time.time()

    async def pricing(self, request: Request) -> Response:
        if (refused := self._key_refusal(request)) is not None:
            return refused
        names = _list_parameter(request, "endpoint_id")
        prices = [
            {
                "endpoint_id": model.name,
                "unit_price": model.unit_usd,
                "unit": model.unit,
                "currency": "USD",
            }
            for model in MODELS
            if model.provider == "fal" and (not names or model.name in names)
        ]
        return json_response({"prices": prices, "next_cursor": None, "has_more": False})

    async def keys(self, request: Request) -> Response:
        async def handler() -> Response:
            return json_response(key_set(self._key))

        return await self._context.exchange(request, "fal", None, "keys", handler)


async def _json_object(request: Request) -> Json | None:
    try:
        return as_object(json.loads(await request.body()))
    except ValueError:
        return None


def _callback_url(request: Request) -> str | None:
    url = request.query_params.get("fal_webhook")
    return url if url and urlsplit(url).scheme in {"http", "https"} else None


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None


def _life(text: str | None) -> float | None:
    try:
        preference = json.loads(text or "{}")
        return float(preference["expiration_duration_seconds"])
    except (ValueError, KeyError, TypeError):
        return None


def _list_parameter(request: Request, name: str) -> list[str]:
    """Return the values of a query parameter that is repeated or comma-separated."""
    return [
        part for value in request.query_params.getlist(name) for part in value.split(",") if part
    ]


def _parse_time(text: str | None, default: float) -> float:
    return default if text is None else datetime.fromisoformat(text.replace(" ", "+")).timestamp()


def _outcome(job: Job) -> str:
    if job.state == "succeeded":
        return "success"
    return "user_error" if responses.failure(job)["status"] < 500 else "error"
