"""Composition of the sandbox as one ASGI application."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.utils import formatdate

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.callbacks.sender import Callbacks
from sandbox.callbacks.signatures import load_or_create_key
from sandbox.control import ActiveSettings, Control
from sandbox.elevenlabs import responses as elevenlabs_responses
from sandbox.elevenlabs.routes import ElevenLabs
from sandbox.fal import responses as fal_responses
from sandbox.fal.routes import Fal
from sandbox.faults.book import FaultBook
from sandbox.faults.breakpoints import Breakpoints
from sandbox.files.downloads import Downloads
from sandbox.files.store import Files
from sandbox.http.exchange import TRANSPORT, Exchange
from sandbox.http.route_context import RouteContext
from sandbox.jobs.bill import Bill
from sandbox.jobs.runner import JobRunner
from sandbox.jobs.store import Job, Jobs
from sandbox.replicate import responses as replicate_responses
from sandbox.replicate.routes import DATA_LIFE_SECONDS, Replicate
from sandbox.replicate.uploads import Uploads
from sandbox.settings import Json, Options


class TransportInScope:
    """Put the connection in the request's scope for the faults that cut it; ASGI hides it.

    Also add the Date header, by the provider's clock.
    """

    def __init__(self, app: ASGIApp, settings: ActiveSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        transport: asyncio.Transport = getattr(send, "__self__").transport  # noqa: B009 # the server's request cycle
        scope[TRANSPORT] = transport

        async def send_dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                at = time.time() - self._settings.current.clock_behind_seconds
                date = (b"date", formatdate(at, usegmt=True).encode())
                message["headers"] = [*message.get("headers", ()), date]
            await send(message)

        try:
            await self._app(scope, receive, send_dated)
        except asyncio.CancelledError:
            # The process ends while a call hangs: close without a response instead of sending 500.
            transport.abort()
            while (await receive())["type"] != "http.disconnect":
                pass


class ControlOnItsOwnPort:
    """Serve the control routes on the control port, and all other routes elsewhere.

    A program that may call the providers, for example with a webhook, must not reach the control
    routes.
    """

    def __init__(self, app: ASGIApp, control_port: int) -> None:
        self._app = app
        self._control_port = control_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            is_control = scope["path"].startswith("/__control")
            if is_control != (scope["server"][1] == self._control_port):
                await Response(status_code=404)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def build(options: Options, *, control_port: int) -> ASGIApp:
    options.data_dir.mkdir(parents=True, exist_ok=True)
    key = load_or_create_key(options.data_dir / "fal-signing-key")
    settings = ActiveSettings(options.settings)
    faults, breakpoints = FaultBook(), Breakpoints()
    jobs = Jobs(options.data_dir)
    files = Files(jobs)
    callbacks = Callbacks(
        settings=lambda: settings.current, faults=faults, breakpoints=breakpoints, fal_key=key,
        replicate_secret=options.replicate_webhook_secret,
    )  # fmt: skip

    def replicate_callback(job: Job) -> Json:
        life = settings.current.data_life_seconds
        return replicate_responses.prediction(
            job, job.base_url, DATA_LIFE_SECONDS if life is None else life
        )

    runner = JobRunner(
        settings=lambda: settings.current, jobs=jobs, bill=Bill(options.data_dir / "bill.jsonl"), files=files,
        faults=faults, callbacks=callbacks,
        callback_bodies={"fal": fal_responses.callback, "replicate": replicate_callback},
    )  # fmt: skip
    exchange = Exchange(
        faults,
        breakpoints,
        {
            "fal": fal_responses.refusal,
            "replicate": replicate_responses.refusal,
            "elevenlabs": elevenlabs_responses.refusal,
        },
    )
    context = RouteContext(
        runner=runner, exchange=exchange, faults=faults, public_url=options.public_url
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        await runner.resume()
        yield
        await runner.stop()
        await callbacks.close()
        await files.close()
        jobs.close()

    replicate = Replicate(context, options.replicate_webhook_secret, options.replicate_token)
    routes = [
        *Control(settings, context, faults, breakpoints, callbacks).routes(),
        *Fal(context, key, options.fal_key).routes(),
        *replicate.routes(),
        *Uploads(context, replicate).routes(),
        *ElevenLabs(context, faults, options.elevenlabs_key).routes(),
        *Downloads(jobs, faults, exchange).routes(),
    ]
    return TransportInScope(
        ControlOnItsOwnPort(Starlette(routes=routes, lifespan=lifespan), control_port), settings
    )
