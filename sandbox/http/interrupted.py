"""Responses whose body is held or cut after their head has been sent."""

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sandbox.faults.breakpoints import ReleaseMode


class InterruptedResponse(Response):
    """Send an answer's head and a share of its body; `then` decides about the rest.

    then: returns how to continue; anything but `go_on` has closed the connection.
    """

    def __init__(
        self, answer: Response, *, share: float, then: Callable[[], Awaitable[ReleaseMode]]
    ) -> None:
        super().__init__(status_code=answer.status_code)
        self.raw_headers = answer.raw_headers
        self._content = bytes(answer.body)
        self._sent = int(len(self._content) * share)
        self._then = then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        if self._sent:
            part = self._content[: self._sent]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if await self._then() == "go_on":
            await send({"type": "http.response.body", "body": self._content[self._sent :]})
