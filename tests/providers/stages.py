"""A provider's server on a raw socket that plays one job of a model, from its recording.

A recording of a model holds what only this model has: inputs, request, result and bill. How a
vendor reports failures and lists is the same for all of its models and comes from the vendor's own
recordings.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from core.providers.models import Model
from tests.providers import replay
from tests.providers.wire import Line, serving

JOB_ID = "5f0c7d0e-1111-4222-8333-abcdefabcdef"
SENT_AT = "2026-11-22T10:00:00Z"
LISTED_AT = "2026-11-22T10:00:01Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict[str, str])


def path_of(vendor: str, model: Model) -> Path:
    """Return the recording of a model."""
    name = model.id.removeprefix("fal-ai/").replace("/", "-")
    return replay.FOLDER / vendor / "models" / f"{name}.json"


def load(vendor: str, model: Model) -> dict[str, Any]:
    return json.loads(path_of(vendor, model).read_text(encoding="utf-8"))


@dataclass(slots=True)
class Stage:
    """What the server answers now. sent: the create call's body. ending: the job's result."""

    vendor: str
    model: Model
    url: str = ""
    sent: Any = None
    ending: str = "success"
    result: dict[str, Any] = field(default_factory=dict[str, Any])

    def answer(self, call: str, body: bytes) -> Answer:
        return self._fal(call, body) if self.vendor == "fal" else self._replicate(call, body)

    def _fal(self, call: str, body: bytes) -> Answer:
        queue = f"/fal/queue/{'/'.join(self.model.id.split('/')[:2])}/requests/{JOB_ID}"
        urls = {
            "status_url": f"{queue}/status",
            "response_url": queue,
            "cancel_url": f"{queue}/cancel",
        }
        urls = {name: self.url + path for name, path in urls.items()}
        if call == f"POST /fal/queue/{self.model.id}":
            self.sent = json.loads(body)
            return Answer(body={"request_id": JOB_ID, "status": "IN_QUEUE", **urls})
        if call == "GET /fal/api/v1/models/requests/by-endpoint":
            return Answer(body={"items": [self._history_item()], "has_more": False})
        if call == f"PUT {queue}/cancel":
            return Answer(status=202, body={"status": "CANCELLATION_REQUESTED"})
        status, result = self._fal_ending()
        return {f"GET {queue}/status": status, f"GET {queue}": result}[call]

    def _fal_ending(self) -> tuple[Answer, Answer]:
        if self.ending in ("success", "unbilled"):
            headers: dict[str, str] = self.result["headers"]
            headers = headers if self.ending == "success" else {}
            done = {"status": "COMPLETED", "request_id": JOB_ID, "logs": None}
            return Answer(body=done), Answer(body=self.result["body"], headers=headers)
        status, result = (
            Answer(status=each["status"], body=each["body"], headers=each["headers"])
            for each in replay.load("fal", f"status_{self.ending}")["exchanges"][:2]
        )
        return status, result

    def _history_item(self) -> dict[str, Any]:
        return {
            "request_id": JOB_ID,
            "endpoint_id": self.model.id,
            "sent_at": LISTED_AT,
            "started_at": LISTED_AT,
            "ended_at": LISTED_AT,
            "status_code": 200,
            "json_input": self.sent,
            "json_output": None,
        }

    def _replicate(self, call: str, body: bytes) -> Answer:
        one = f"/replicate/v1/predictions/{JOB_ID}"
        if call == f"POST /replicate/v1/models/{self.model.id}/predictions":
            self.sent = json.loads(body)
            return Answer(status=201, body=self._prediction({"status": "starting"}))
        if call == "GET /replicate/v1/predictions":
            listed = self._prediction({"status": "processing"})
            return Answer(body={"results": [listed], "next": None})
        if call == f"POST {one}/cancel":
            return Answer(body=self._prediction({"status": "canceled"}))
        assert call == f"GET {one}", call
        if self.ending == "success":
            return Answer(body=self._prediction({"status": "succeeded", **self.result}))
        if self.ending == "unbilled":
            bare: dict[str, Any] = {"status": "succeeded", **self.result, "metrics": None}
            return Answer(body=self._prediction(bare))
        recorded = replay.load("replicate", f"status_{self.ending}")["exchanges"][0]
        return Answer(status=recorded["status"], body=recorded["body"])

    def _prediction(self, more: dict[str, Any]) -> dict[str, Any]:
        one = f"{self.url}/replicate/v1/predictions/{JOB_ID}"
        return {
            "id": JOB_ID,
            "model": self.model.id,
            "version": "hidden",
            "input": self.sent["input"],
            "webhook": self.sent.get("webhook"),
            "created_at": LISTED_AT,
            "error": None,
            "urls": {"get": one, "cancel": f"{one}/cancel"},
            **more,
        }


@asynccontextmanager
async def staged(vendor: str, model: Model, result: dict[str, Any]) -> AsyncGenerator[Stage]:
    stage = Stage(vendor=vendor, model=model, result=result)

    async def script(line: Line) -> None:
        while True:
            request = await line.read()
            answer = stage.answer(f"{request.method} {unquote(request.path)}", request.body)
            await line.answer(answer.status, answer.body, answer.headers)

    async with serving(script) as wire:
        stage.url = wire.url
        yield stage
