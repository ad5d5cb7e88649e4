"""Replicate's routes: predictions (create, get, list, cancel), models and the webhook secret."""

import json
import math
import re
import time
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sandbox.http.accounts import account_of, is_refused, webhook_secret
from sandbox.http.exchange import json_response
from sandbox.http.route_context import RouteContext
from sandbox.jobs.requests import CreateRequest
from sandbox.jobs.store import Job
from sandbox.models.catalogue import find_model
from sandbox.models.fields import violations
from sandbox.models.model import Model
from sandbox.replicate import responses
from sandbox.settings import DAY_SECONDS, Json, as_object

PAGE = 100
DATA_LIFE_SECONDS = 3600.0
DATA_URI_BYTES = 256 * 1024
EVENTS = ("start", "output", "logs", "completed")
CREATES_PER_MINUTE, OTHERS_PER_MINUTE = 600, 3000
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}


class InputError(ValueError):
    """The body of a create call is invalid; holds the error response."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


class Replicate:
    """The routes below `/replicate/v1`, except the files API."""

    def __init__(
        self, context: RouteContext, webhook_secret: str, expected_token: str | None
    ) -> None:
        self._context = context
        self._webhook_secret = webhook_secret
        self._expected_token = expected_token

    def routes(self) -> list[BaseRoute]:
        start = "/replicate/v1"
        return [
            Route(f"{start}/predictions", self.create, methods=["POST"]),
            Route(f"{start}/predictions", self.list, methods=["GET"]),
            Route(f"{start}/predictions/{{id}}", self.get, methods=["GET"]),
            Route(f"{start}/predictions/{{id}}/cancel", self.cancel, methods=["POST"]),
            Route(f"{start}/models/{{owner}}/{{name}}", self.model, methods=["GET"]),
            Route(f"{start}/models/{{owner}}/{{name}}/predictions", self.create, methods=["POST"]),
            Route(f"{start}/webhooks/default/secret", self.secret, methods=["GET"]),
            Route(f"{start}/account", self.account, methods=["GET"]),
        ]

    def token_refusal(self, request: Request) -> Response | None:
        scheme = request.headers.get("authorization", "").partition(" ")[0]
        revoked = self._context.runner.settings().revoked_keys
        if scheme.lower() not in {"bearer", "token"} or is_refused(
            request, self._expected_token, revoked
        ):
            return responses.problem(401)
        return None

    def _data_life(self) -> float:
        life = self._context.runner.settings().data_life_seconds
        return DATA_LIFE_SECONDS if life is None else life

    def _view(self, request: Request, job: Job, *, early: bool = False) -> Json:
        return responses.prediction(
            job, self._context.base_url(request), self._data_life(), early=early
        )

    def callback(self, job: Job) -> Json:
        return responses.prediction(job, job.base_url, self._data_life())

    def _limits(self, answer: Response, *, create: bool) -> Response:
        """Add the rate limit headers that every response has."""
        limit = CREATES_PER_MINUTE if create else OTHERS_PER_MINUTE
        used = self._context.creates_in_last_minute("replicate") if create else 1
        answer.headers["ratelimit-remaining"] = str(max(0, limit - used))
        answer.headers["ratelimit-reset"] = "1"
        return answer

    async def create(self, request: Request) -> Response:
        in_path = _model_name(request, {}) or None
        if (
            ended := await self._context.exchange.receive(request, "replicate", in_path, "create")
        ) is not None:
            return ended
        body = await _json_object(request)
        name = _model_name(request, body or {})
        webhook = (body or {}).get("webhook")
        self._context.count_create(
            request, "replicate", name, webhook if isinstance(webhook, str) else None
        )

        async def handler() -> Response:
            try:
                answer = await self._accept(request, name, body)
            except InputError as refused:
                answer = refused.answer
            return self._limits(answer, create=True)

        return await self._context.exchange(request, "replicate", name, "create", handler)

    async def _accept(self, request: Request, name: str, body: Json | None) -> Response:
        if (refused := self.token_refusal(request)) is not None:
            return refused
        limit = self._context.runner.settings().replicate_creates_per_minute
        if limit and self._context.creates_in_last_minute("replicate") > limit:
            return responses.throttled({})
        model = find_model("replicate", name)
        if model is None:
            return responses.problem(404)
        if body is None:
            return responses.problem(400, "The request body is not valid JSON")
        order = CreateRequest(
            model=model,
            input=_input(model, body),
            base_url=self._context.base_url(request),
            account=account_of(request),
            callback_url=_webhook(body),
            callback_events=_events(body),
            end_within_seconds=_cancel_after(request),
        )
        wait = _wait_seconds(request)
        job = await self._context.runner.accept(order)
        if wait is None:
            return json_response(self._view(request, job, early=True), 201)
        done = await self._context.runner.wait_for(job, lambda: job.ended, wait)
        # The vendor's client requires `starting` in a response without all outputs, even if the
        # prediction runs.
        view = self._view(request, job, early=not done)
        return json_response(view, 201 if done else 202, {"Preference-Applied": f"wait={wait:g}"})

    async def get(self, request: Request) -> Response:
        async def answer(job: Job) -> Response:
            return json_response(self._view(request, self._context.as_reported(job)))

        return await self._for_job(request, "status", answer)

    async def cancel(self, request: Request) -> Response:
        async def answer(job: Job) -> Response:
            if not job.ended and not self._context.cancel_loses(job):
                await self._context.runner.cancel(job)
            return json_response(self._view(request, job))

        return await self._for_job(request, "cancel", answer)

    async def _for_job(self, request: Request, operation: str, answer: Any) -> Response:
        job = self._context.jobs.find(request.path_params["id"])
        if job is not None and (job.provider, job.account) != ("replicate", account_of(request)):
            job = None

        async def handler() -> Response:
            refused = self.token_refusal(request)
            if refused is None and job is None:
                refused = responses.problem(404)
            return self._limits(refused or await answer(job), create=False)

        return await self._context.exchange(
            request, "replicate", job.model if job else None, operation, handler
        )

    async def list(self, request: Request) -> Response:
        async def handler() -> Response:
            return self._limits(self.token_refusal(request) or self._page(request), create=False)

        return await self._context.exchange(request, "replicate", None, "list", handler)

    def _page(self, request: Request) -> Response:
        """Return a page of 100, newest first; the cursor is the number of earlier predictions."""
        query, settings, now = request.query_params, self._context.runner.settings(), time.time()
        try:
            after = _parse_time(query.get("created_after"))
            before = _parse_time(query.get("created_before"))
            offset = int(query.get("cursor", "0"))
        except ValueError:
            return responses.problem(400, "Invalid date or cursor")
        newest = now - settings.history_lag_seconds
        shown = [
            job
            for listed in reversed(self._context.jobs.all("replicate"))
            if not settings.history_hidden
            and listed.account == account_of(request)
            and (listed.ended_at or math.inf if settings.list_hides_running else listed.created_at)
            <= newest
            and (job := listed.shown_earlier(settings.clock_behind_seconds))
            and (after is None or job.created_at >= after)
            and (before is None or job.created_at < before)
        ]
        # The address that the caller used: the caller sends its key there again.
        start = f"{str(request.base_url).rstrip('/')}/replicate/v1/predictions"
        kept = {key: query[key] for key in ("created_after", "created_before") if key in query}

        def address(cursor: int) -> str:
            return f"{start}?{urlencode(kept | {'cursor': cursor})}"

        return json_response(
            {
                "previous": address(max(0, offset - PAGE)) if offset else None,
                "next": address(offset + PAGE) if offset + PAGE < len(shown) else None,
                "results": [self._view(request, job) for job in shown[offset : offset + PAGE]],
            }
        )

    async def model(self, request: Request) -> Response:
        name = f"{request.path_params['owner']}/{request.path_params['name']}"
        if (refused := self.token_refusal(request)) is not None:
            return refused
        if find_model("replicate", name) is None:
            return responses.problem(404)
        owner, short = name.split("/")
        return json_response(
            {
                "url": f"https://replicate.com/{name}", "owner": owner, "name": short, "description": None,
                "visibility": "public", "github_url": None, "paper_url": None, "license_url": None,
                "run_count": 0, "cover_image_url": None, "default_example": None, "latest_version": None,
            }
        )  # fmt: skip

    async def secret(self, request: Request) -> Response:
        async def handler() -> Response:
            secret = webhook_secret(self._webhook_secret, account_of(request))
            return self.token_refusal(request) or json_response({"key": secret})

        return await self._context.exchange(request, "replicate", None, "keys", handler)

    async def account(self, request: Request) -> Response:
        account = {"type": "user", "username": "sandbox", "name": "Sandbox", "github_url": None}
        return self.token_refusal(request) or json_response(account)


async def _json_object(request: Request) -> Json | None:
    try:
        return as_object(json.loads(await request.body()))
    except ValueError:
        return None


def _model_name(request: Request, body: Json) -> str:
    """Return `owner/name` from the path, else from `version` without its `:<64 hex>`."""
    if "owner" in request.path_params:
        return f"{request.path_params['owner']}/{request.path_params['name']}"
    return str(body.get("version", "")).split(":")[0]


def _input(model: Model, body: Json) -> Json:
    checked = as_object(body.get("input"))
    if checked is None:
        raise InputError(responses.invalid_fields([("required", "(root)", "input is required")]))
    if broken := violations(model.fields, checked):
        raise InputError(responses.invalid(broken))
    if "last_frame_image" in checked and checked["last_frame_image"] and not checked.get("image"):
        raise InputError(
            responses.invalid_fields([("dependency", "input", "last_frame_image needs image")])
        )
    for name, value in checked.items():
        if (
            isinstance(value, str)
            and value.startswith("data:")
            and len(value) > DATA_URI_BYTES * 4 // 3 + 128
        ):
            raise InputError(
                responses.invalid_fields(
                    [("too_large", f"input.{name}", "Data URI is over 256 kB")]
                )
            )
    return checked


def _webhook(body: Json) -> str | None:
    url = body.get("webhook")
    if url is None:
        return None
    if not isinstance(url, str) or urlsplit(url).scheme not in {"http", "https"}:
        raise InputError(
            responses.invalid_fields([("format", "webhook", "Does not match format 'uri'")])
        )
    return url


def _events(body: Json) -> tuple[str, ...]:
    """Return the requested events; without a filter, all events."""
    selected: Any = body.get("webhook_events_filter")
    if selected is None:
        return EVENTS
    if not isinstance(selected, list) or not set(map(str, selected)) <= set(EVENTS):  # pyright: ignore[reportUnknownArgumentType] # JSON
        text = "must be some of start, output, logs, completed"
        raise InputError(responses.invalid_fields([("enum", "webhook_events_filter", text)]))
    return tuple(map(str, selected))  # pyright: ignore[reportUnknownArgumentType] # JSON


def _cancel_after(request: Request) -> float | None:
    """Parse `Cancel-After`: numbers with h, m or s, in total 5 seconds to 24 hours."""
    text = request.headers.get("cancel-after")
    if text is None:
        return None
    squeezed = text.replace(" ", "").lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms]?)", squeezed)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if (
        "".join(number + unit for number, unit in parts) != squeezed
        or not 5 <= seconds <= DAY_SECONDS
    ):
        raise InputError(
            responses.problem(422, "Cancel-After must be a duration between 5s and 24h")
        )
    return seconds


def _wait_seconds(request: Request) -> float | None:
    """Parse `Prefer: wait` or `wait=1..60`."""
    match = re.search(r"\bwait(?:=(\d+))?\b", request.headers.get("prefer", ""))
    return None if match is None else min(60.0, max(1.0, float(match[1] or 60)))


def _parse_time(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text.replace(" ", "+")).timestamp()
