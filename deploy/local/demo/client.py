"""A client of the product's HTTP API, for the demo."""

import asyncio
import secrets
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from deploy.local.servers.process import LocalError

# A killed process has restarted within this time.
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.5
# 409: the same request is still in progress. 429: too many requests.
_LATER = (409, 429)


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, frozen=True)


class User(_Answer):
    user_id: str
    api_key: str
    webhook_secret: str


class Cost(_Answer):
    estimated: str
    settled: str
    final: bool = False


class Job(_Answer):
    step: str
    state: str
    provider: str
    model: str
    cost: Cost


class Reason(BaseModel):
    code: str
    message: str


class Execution(_Answer):
    id: str
    status: str
    progress: int
    current_job: str | None
    completed_jobs: list[str]
    jobs: list[Job]
    result: dict[str, Any] | None
    error: Reason | None
    cost: Cost

    @property
    def has_ended(self) -> bool:
        return self.status in ("completed", "failed", "cancelled")


class Accepted(_Answer):
    execution_id: str


class Asset(_Answer):
    id: str


class ConsoleTicket(_Answer):
    url: str


Read = TypeVar("Read", bound=_Answer)


class ProductClient:
    """One user's requests.

    Requests are repeated while the API is down or restarting; the idempotency key makes this safe.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def generate_video(self, request: dict[str, Any]) -> str:
        """Order a video and return the id of its execution."""
        return await self._order("/api/generate-video", request)

    async def execute(self, request: dict[str, Any]) -> str:
        """Order the steps of a plan and return the id of their execution."""
        return await self._order("/api/executions", request)

    async def upload(self, name: str, content: bytes) -> str:
        """Upload a file and return the id of its asset; the same content is stored once."""
        asset = await self._call("POST", "/api/assets", Asset, files={"file": (name, content)})
        return asset.id

    async def execution(self, execution_id: str) -> Execution:
        return await self._call("GET", f"/api/executions/{execution_id}", Execution)

    async def console_link(self) -> str:
        """Return an address of the web console that logs in once, within 15 minutes."""
        return (await self._call("POST", "/console/tickets", ConsoleTicket)).url

    async def _order(self, path: str, request: dict[str, Any]) -> str:
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        accepted = await self._call("POST", path, Accepted, json=request, headers=headers)
        return accepted.execution_id

    async def _call(self, method: str, path: str, kind: type[Read], **options: Any) -> Read:
        problem = ""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    try:
                        answer = await self._http.request(method, path, **options)
                    except httpx.TransportError as error:
                        problem = f"{type(error).__name__}: {error}"
                    else:
                        if answer.is_success:
                            return kind.model_validate_json(answer.content)
                        problem = f"{answer.status_code} {answer.text[:500]}"
                        if answer.status_code < 500 and answer.status_code not in _LATER:
                            raise LocalError(f"{method} {path} was refused: {problem}")
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            raise LocalError(
                f"{method} {path} got no response for {PATIENCE_SECONDS:.0f} s: {problem}"
            ) from None
