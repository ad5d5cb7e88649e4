"""Processing of one vendor request, with the faults requested for it."""

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from sandbox.faults.book import AFTER, ANSWERS, BEFORE, BEFORE_READ, STATUSES, Fault, FaultBook
from sandbox.faults.breakpoints import Breakpoints, ReleaseMode
from sandbox.http.accounts import account_of, key_of
from sandbox.http.interrupted import InterruptedResponse
from sandbox.jobs.bill import timestamp
from sandbox.models.model import Provider
from sandbox.settings import Json

KEPT_CALLS = 20_000
TRANSPORT = "sandbox.transport"  # key of the connection in the request's scope, set in app.py
RECEIVED = "sandbox.received"  # set in the scope of a request whose body has been read
HTML_PAGE = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"  # noqa: E501 # a single page
STATUS_LINES = {
    200: "200 OK",
    500: "500 Internal Server Error",
    502: "502 Bad Gateway",
    503: "503 Service Unavailable",
}


class Vendor(Protocol):
    """Builder of a requested error response in a vendor's format."""

    def __call__(self, status: int, params: Json) -> Response: ...


Handler = Callable[[], Awaitable[Response]]


def json_response(
    body: Any,
    status: int = 200,
    headers: dict[str, str] | None = None,
    kind: str = "application/json",
) -> Response:
    return Response(json.dumps(body), status, headers, kind)


async def drop(request: Request, params: Json) -> Response:
    """Close the connection without a response: orderly, or with a reset (`how: "reset"`)."""
    transport: asyncio.Transport = request.scope[TRANSPORT]
    if params.get("how") == "reset":
        transport.abort()
    else:
        transport.close()
    while not await request.is_disconnected():  # noqa: ASYNC110 # the server reports it only through this call
        await asyncio.sleep(0.01)
    return Response()  # never sent


class Exchange:
    """Runs the handlers of vendor calls, applies faults and records the calls."""

    def __init__(
        self, faults: FaultBook, breakpoints: Breakpoints, refusals: dict[Provider, Vendor]
    ) -> None:
        self._faults = faults
        self._breakpoints = breakpoints
        self._refusals = refusals
        # Every received call, with or without a response. In memory only: lost on a restart.
        self.calls: deque[Json] = deque(maxlen=KEPT_CALLS)
        self.call_counts: Counter[str] = Counter()  # by operation, of all calls

    async def receive(
        self, request: Request, provider: Provider, model: str | None, operation: str
    ) -> Response | None:
        """Record the call, apply holds before the read, and read the body.

        Return a response, which is never sent, if the call ends here.
        """
        if request.scope.get(RECEIVED, False):
            return None
        request.scope[RECEIVED] = True
        called = {
            "time": timestamp(time.time()),
            "provider": provider,
            "operation": operation,
            "model": model,
        }
        self.call_counts[operation] += 1
        self.calls.append(
            called
            | {"path": request.url.path, "account": account_of(request), "key": key_of(request)}
        )
        fault = self._faults.take(
            provider,
            model,
            operation,
            BEFORE_READ,
            lambda fault: _is_for_account_of(fault, request),
            path=request.url.path,
        )
        how: ReleaseMode = "go_on" if fault is None else await self._hold(request, fault)
        if how != "go_on":
            return await drop(request, {"how": how})
        try:
            await request.body()  # read completely, as a server that fails later does
        except ClientDisconnect:
            return Response()
        return None

    async def _hold(self, request: Request, fault: Fault) -> ReleaseMode:
        transport: asyncio.Transport = request.scope[TRANSPORT]
        modes: dict[str, ReleaseMode | None] = {"go_on": "go_on", "drop": "drop", "stay": None}
        when_gone = modes[fault.params.get("when_gone", "go_on")]
        return await self._breakpoints.hold(
            fault.id, {"path": request.url.path}, transport.is_closing, when_gone
        )

    async def __call__(
        self,
        request: Request,
        provider: Provider,
        model: str | None,
        operation: str,
        handler: Handler,
    ) -> Response:
        """Return the handler's response, changed by a matching fault."""
        if (ended := await self.receive(request, provider, model, operation)) is not None:
            return ended
        names = ANSWERS | STATUSES if operation == "status" else ANSWERS
        fault = self._faults.take(
            provider,
            model,
            operation,
            names,
            lambda fault: _is_for_account_of(fault, request),
            path=request.url.path,
        )
        if fault is None:
            return await handler()
        if fault.place in BEFORE:
            return await self._before(request, provider, fault, handler)
        does = fault.place not in AFTER or fault.params.get("accept", True)
        answer = await handler() if does else Response("{}")
        if fault.place in {"cut_body", "hold after_head"}:
            return self._interrupted(request, fault, answer)
        if fault.fault == "hold":
            how = await self._hold(request, fault)
            return answer if how == "go_on" else await drop(request, {"how": how})
        if fault.fault == "answer_502_after_accept" and fault.params.get("form") == "vendor":
            return self._refusals[provider](int(fault.params.get("status", 500)), fault.params)
        return await _after(request, provider, fault, answer)

    def _interrupted(self, request: Request, fault: Fault, answer: Response) -> Response:
        async def then() -> ReleaseMode:
            how: ReleaseMode = "drop"
            if fault.fault == "hold":
                how = await self._hold(request, fault)
            elif fault.params.get("how") == "reset":
                how = "reset"
            if how != "go_on":
                await drop(request, {"how": how})
            return how

        share = 0.5 if fault.params.get("after") == "middle" else 0.0
        return InterruptedResponse(answer, share=share, then=then)

    async def _before(
        self, request: Request, provider: Provider, fault: Fault, handler: Handler
    ) -> Response:
        params, refusal = fault.params, self._refusals[provider]
        if fault.fault == "hold":
            how = await self._hold(request, fault)
            return await handler() if how == "go_on" else await drop(request, {"how": how})
        if fault.fault == "drop_before_accept" or (fault.fault == "down" and "how" in params):
            return await drop(request, params)
        if fault.fault == "hang":
            await _hang(request, float(params.get("seconds", 3600)))
            return await handler() if params.get("answer", False) else await drop(request, params)
        if fault.fault == "refuse_429":
            return refusal(429, params)
        if fault.fault == "refuse":
            return refusal(int(params.get("status", 400)), params)
        return refusal(int(params.get("status", 503)), params)


def _is_for_account_of(fault: Fault, request: Request) -> bool:
    """Return whether the fault applies to all accounts or to the caller's account."""
    return fault.params.get("account", account_of(request)) == account_of(request)


async def _after(request: Request, provider: Provider, fault: Fault, answer: Response) -> Response:
    params = fault.params
    if fault.fault == "drop_after_accept":
        return await drop(request, params)
    if fault.fault == "answer_502_after_accept":
        return _html(int(params.get("status", 502)))
    if fault.fault == "html_answer":
        return _html(int(params.get("status", 200)))
    if fault.fault == "answer_late":
        await _hang(request, float(params.get("seconds", 70)))
        return answer
    if fault.fault == "malformed_json":
        content = bytes(answer.body)
        return Response(
            content[: max(1, len(content) // 2)], answer.status_code, media_type="application/json"
        )
    if fault.fault == "huge_body":
        size = int(params.get("bytes", 256 * 1024 * 1024))
        return StreamingResponse(_spaces(size), answer.status_code, media_type="application/json")
    if fault.fault == "no_id" and provider == "elevenlabs":
        del answer.headers["request-id"]
        return answer
    body = json.loads(bytes(answer.body))
    if fault.fault == "no_id":
        kept = {
            key: value
            for key, value in body.items()
            if key in {"status", "queue_position", "model", "input"}
        }
        return json_response(kept, answer.status_code)
    unknown = "PAUSED" if provider == "fal" else "queued_for_review"
    return json_response(body | {"status": params.get("status", unknown)}, answer.status_code)


async def _hang(request: Request, seconds: float) -> None:
    """Wait for these seconds or until the caller disconnects."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end and not await request.is_disconnected():  # noqa: ASYNC110 # as above
        await asyncio.sleep(min(0.05, seconds))


def _html(status: int) -> Response:
    line = STATUS_LINES.get(status, str(status))
    return Response(HTML_PAGE.format(line), status, media_type="text/html")


async def _spaces(size: int) -> AsyncIterator[bytes]:
    """Yield a body that begins like JSON and exceeds any sensible limit."""
    yield b'{"padding": "'
    chunk = b" " * 65536
    for _ in range(size // len(chunk)):
        yield chunk
    yield b'"}'
