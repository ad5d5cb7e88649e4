"""ElevenLabs' routes: speech, history, models, voices and the subscription.

A request is charged when it is accepted. Its history item appears when its audio is complete.
"""

import asyncio
import base64
import json
import math
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.elevenlabs import responses
from sandbox.elevenlabs.catalogue import VOICE, RequestError, Speech, checked_speech
from sandbox.elevenlabs.speech import alignment, speech
from sandbox.faults.book import JOBS, FaultBook
from sandbox.http.accounts import account_of, is_refused, key_of
from sandbox.http.exchange import json_response
from sandbox.http.route_context import RouteContext
from sandbox.jobs.store import Job, StoredFile
from sandbox.settings import Json, Settings

NAME = "elevenlabs"
PAGE, MAX_PAGE = 100, 1000


class ElevenLabs:
    """The routes below `/elevenlabs/v1`."""

    def __init__(self, context: RouteContext, faults: FaultBook, expected_key: str | None) -> None:
        self._context = context
        self._faults = faults
        self._expected_key = expected_key
        self._running = 0

    def routes(self) -> list[BaseRoute]:
        start = "/elevenlabs/v1"
        speak = f"{start}/text-to-speech/{{voice}}"
        return [
            Route(speak, self.create, methods=["POST"]),
            Route(f"{speak}/stream", self.create, methods=["POST"]),
            Route(f"{speak}/with-timestamps", self.create, methods=["POST"]),
            Route(f"{speak}/stream/with-timestamps", self.create, methods=["POST"]),
            Route(f"{start}/history", self.list, methods=["GET"]),
            Route(f"{start}/history/{{id}}", self.get, methods=["GET"]),
            Route(f"{start}/history/{{id}}/audio", self.audio, methods=["GET"]),
            Route(f"{start}/models", self.models, methods=["GET"]),
            Route(f"{start}/user/subscription", self.subscription, methods=["GET"]),
            Route(f"{start}/voices/{{id}}", self.voice, methods=["GET"]),
        ]

    @property
    def _settings(self) -> Settings:
        return self._context.runner.settings()

    def _refused(self, request: Request) -> Response | None:
        if not key_of(request):
            return responses.refusal(401, {"code": "missing_api_key"})
        if is_refused(request, self._expected_key, self._settings.revoked_keys):
            return responses.refusal(401, {})
        return None

    async def create(self, request: Request) -> Response:
        ended = await self._context.exchange.receive(request, NAME, None, "create")
        if ended is not None:
            return ended
        body = await _body(request)
        model = str(body.get("model_id", "")) if isinstance(body, dict) else ""  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType] # JSON
        self._context.count_create(request, NAME, model, None)

        async def handler() -> Response:
            if (refused := self._refused(request)) is not None:
                return refused
            try:
                order = checked_speech(request.path_params["voice"], request.query_params, body)
            except RequestError as error:
                return responses.rejected(error)
            if order.voice in self._settings.elevenlabs_denied_voices:
                return responses.refusal(403, {})
            limit = self._settings.elevenlabs_concurrent
            if limit and self._running >= limit:
                return responses.refusal(429, {"code": responses.CONCURRENT})
            self._running += 1
            try:
                return await self._speak(request, order)
            finally:
                self._running -= 1

        return await self._context.exchange(request, NAME, model, "create", handler)

    async def _speak(self, request: Request, order: Speech) -> Response:
        job, audio = await self._accept(request, order)
        headers = {
            "request-id": job.id,
            "x-trace-id": secrets.token_hex(16),
            "character-cost": str(job.billable_units),
            "current-concurrent-requests": str(self._running),
            "maximum-concurrent-requests": str(self._settings.elevenlabs_concurrent or 15),
        }
        how = request.url.path.partition("/text-to-speech/")[2].partition("/")[2]
        if how == "stream":
            return responses.ChunkedAudio(audio, headers, self._settings.speech_seconds)
        await asyncio.sleep(self._settings.speech_seconds)
        if not how:
            return Response(audio, headers=headers, media_type="audio/mpeg")
        times = alignment(order.text, order.speed)
        answer = {
            "audio_base64": base64.b64encode(audio).decode(),
            "alignment": times,
            "normalized_alignment": times,
        }
        return json_response(answer, headers=headers)

    async def _accept(self, request: Request, order: Speech) -> tuple[Job, bytes]:
        """Render, charge and store the speech; what follows cannot undo the charge."""
        settings, now = self._settings, time.time()
        audio = await run_in_threadpool(speech, order.text, order.speed, order.output_format)
        await run_in_threadpool(alignment, order.text, order.speed)
        job = Job(
            id=responses.new_request_id(), provider=NAME, model=order.model.name,
            input={
                "text": order.text, "voice_id": order.voice, "output_format": order.output_format,
                "voice_settings": order.settings, "history_item_id": secrets.token_hex(10),
            },
            base_url=self._context.base_url(request), account=account_of(request), created_at=now,
            queue_seconds=0.0, latency_seconds=settings.speech_seconds, seed=0, state="succeeded",
            started_at=now, ended_at=now + settings.speech_seconds, announced=True,
            billable_units=order.credits(settings), billed_nano_usd=order.nano_usd(settings),
        )  # fmt: skip
        fault = self._faults.take(NAME, job.model, "create", JOBS, provider_job_id=job.id)
        if fault is not None:
            job.faults.append({"fault": fault.fault, "params": fault.params})
        file = StoredFile(
            name=f"{secrets.token_urlsafe(18)}.mp3", job_id=job.id, provider=NAME, model=job.model,
            content_type="audio/mpeg", created_at=now, expires_at=math.inf,
        )  # fmt: skip
        job.outputs = [{"name": file.name, "content_type": file.content_type, "bytes": len(audio)}]
        # Stored first: after a kill in between, the next start adds the lines of the bill.
        self._context.jobs.add_file(file, audio)
        self._context.jobs.save(job)
        await self._context.runner.bill.accept(job, job.billed_nano_usd)
        self._context.runner.bill.close(job)
        await self._context.runner.bill.flush()
        return job, audio

    def _jobs(self, request: Request) -> "list[Job]":
        """Return the account's jobs, oldest first."""
        account = account_of(request)
        return [job for job in self._context.jobs.all(NAME) if job.account == account]

    def _items(self, request: Request) -> "list[tuple[Job, Json]]":
        """Return the account's history, oldest first: each job and its item."""
        settings, used = self._settings, 0
        newest = time.time() - settings.history_lag_seconds
        items: list[tuple[Job, Json]] = []
        for job in self._jobs(request):
            item = responses.history_item(job.shown_earlier(settings.clock_behind_seconds), used)
            used += int(job.billable_units or 0)
            is_listed = not _is_unlisted(job) and (job.ended_at or 0.0) <= newest
            if is_listed and not settings.history_hidden:
                items.append((job, item))
        return items

    async def list(self, request: Request) -> Response:
        async def handler() -> Response:
            return self._refused(request) or self._page(request)

        return await self._context.exchange(request, NAME, None, "list", handler)

    def _page(self, request: Request) -> Response:
        """Return a page, newest first; the cursor is the id of the last item before it."""
        query = request.query_params
        if "model_id" in query and "source" not in query:
            return responses.refusal(400, {"message": "model_id requires source."})
        try:
            size = int(query.get("page_size", PAGE))
            after = float(query.get("date_after_unix", "-inf"))
            before = float(query.get("date_before_unix", "inf"))
        except ValueError:
            return responses.refusal(422, {})
        if not 0 < size <= MAX_PAGE:
            return responses.refusal(422, {})
        words = query.get("search", "").casefold()
        matching = [
            item
            for _, item in reversed(self._items(request))
            if after <= item["date_unix"] < before
            and all(query.get(name, item[name]) == item[name] for name in ("voice_id", "source"))
            and query.get("model_id", item["model_id"]) == item["model_id"]
            and words in item["text"].casefold()
        ]
        if query.get("sort_direction") == "asc":
            matching.reverse()
        ids = [item["history_item_id"] for item in matching]
        last = query.get("start_after_history_item_id")
        first = ids.index(last) + 1 if last in ids else 0
        shown = matching[first : first + size]
        return json_response(
            {
                "history": shown,
                "last_history_item_id": shown[-1]["history_item_id"] if shown else None,
                "has_more": first + size < len(matching),
                "scanned_until": shown[-1]["date_unix"] if shown else None,
            }
        )

    async def get(self, request: Request) -> Response:
        async def answer(job: Job, item: Json) -> Response:
            return json_response(item)

        return await self._for_item(request, "status", answer)

    async def audio(self, request: Request) -> Response:
        async def answer(job: Job, item: Json) -> Response:
            file = self._context.jobs.find_file(job.outputs[0]["name"])
            if file is None:
                return responses.refusal(404, {"code": "history_item_not_found"})
            return FileResponse(self._context.jobs.path_of(file), media_type="audio/mpeg")

        return await self._for_item(request, "file", answer)

    async def _for_item(
        self, request: Request, operation: str, answer: Callable[[Job, Json], Awaitable[Response]]
    ) -> Response:
        item_id = request.path_params["id"]
        matching = next(
            (pair for pair in self._items(request) if pair[1]["history_item_id"] == item_id), None
        )

        async def handler() -> Response:
            if (refused := self._refused(request)) is not None:
                return refused
            if matching is None:
                return responses.refusal(404, {"code": "history_item_not_found"})
            return await answer(*matching)

        model = matching[0].model if matching is not None else None
        return await self._context.exchange(request, NAME, model, operation, handler)

    async def models(self, request: Request) -> Response:
        return await self._account(request, lambda: json_response(responses.models(self._settings)))

    async def subscription(self, request: Request) -> Response:
        used = responses.credits_of(self._jobs(request))
        return await self._account(request, lambda: json_response(responses.subscription(used)))

    async def voice(self, request: Request) -> Response:
        voice = request.path_params["id"]

        def answer() -> Response:
            if not VOICE.fullmatch(voice):
                return responses.refusal(404, {})
            shown = {"voice_id": voice, "name": "Sandbox", "category": "premade", "settings": None}
            return json_response(shown)

        return await self._account(request, answer)

    async def _account(self, request: Request, answer: Callable[[], Response]) -> Response:
        async def handler() -> Response:
            return self._refused(request) or answer()

        return await self._context.exchange(request, NAME, None, "keys", handler)


def _is_unlisted(job: Job) -> bool:
    params = job.fault("unlisted")
    if params is None:
        return False
    return time.time() < (job.ended_at or 0.0) + float(params.get("seconds", math.inf))


async def _body(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except ValueError:
        return None
