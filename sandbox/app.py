"""The parts put together as one ASGI application."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.callbacks.sender import Callbacks
from sandbox.callbacks.signatures import kept_key
from sandbox.control import Control, Switchboard
from sandbox.fal import responses as fal_answers
from sandbox.fal.routes import Fal
from sandbox.faults.book import FaultBook
from sandbox.faults.breakpoints import ParkingLot
from sandbox.files.downloads import Downloads
from sandbox.files.store import Files
from sandbox.http.exchange import TRANSPORT, Exchange
from sandbox.http.route_context import Desk
from sandbox.jobs.bill import Bill
from sandbox.jobs.runner import Workshop
from sandbox.jobs.store import Job, Jobs
from sandbox.replicate import responses as replicate_answers
from sandbox.replicate.routes import DATA_LIFE_SECONDS, Replicate
from sandbox.replicate.uploads import Uploads
from sandbox.settings import Json, Options


class TransportInScope:
    """Hands the connection itself to the faults that cut it, which ASGI has no word for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        transport: asyncio.Transport = getattr(send, "__self__").transport  # noqa: B009 # the server's request cycle
        scope[TRANSPORT] = transport
        try:
            await self._app(scope, receive, send)
        except (
            asyncio.CancelledError
        ):  # the process ends while a call hangs: no answer rather than a made-up one
            transport.abort()
            while (await receive())["type"] != "http.disconnect":
                pass


def build(options: Options) -> ASGIApp:
    options.data_dir.mkdir(parents=True, exist_ok=True)
    key = kept_key(options.data_dir / "fal-signing-key")
    switchboard = Switchboard(options.settings)
    faults, lot = FaultBook(), ParkingLot()
    jobs = Jobs(options.data_dir)
    files = Files(jobs)
    callbacks = Callbacks(
        settings=lambda: switchboard.now, faults=faults, lot=lot, fal_key=key,
        replicate_secret=options.replicate_webhook_secret,
    )  # fmt: skip

    def replicate_callback(job: Job) -> Json:
        life = switchboard.now.data_life_seconds
        return replicate_answers.prediction(
            job, job.base_url, DATA_LIFE_SECONDS if life is None else life
        )

    workshop = Workshop(
        settings=lambda: switchboard.now, jobs=jobs, bill=Bill(options.data_dir / "bill.jsonl"), files=files,
        faults=faults, callbacks=callbacks,
        announcements={"fal": fal_answers.callback, "replicate": replicate_callback},
    )  # fmt: skip
    exchange = Exchange(
        faults, lot, {"fal": fal_answers.refusal, "replicate": replicate_answers.refusal}
    )
    desk = Desk(workshop=workshop, exchange=exchange, faults=faults, public_url=options.public_url)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        await workshop.resume()
        yield
        await workshop.stop()
        await callbacks.close()
        await files.close()
        jobs.close()

    replicate = Replicate(desk, options.replicate_webhook_secret, options.replicate_token)
    routes = [
        *Control(switchboard, desk, faults, lot, callbacks).routes(),
        *Fal(desk, key, options.fal_key).routes(),
        *replicate.routes(),
        *Uploads(desk, replicate).routes(),
        *Downloads(jobs, faults, exchange).routes(),
    ]
    return TransportInScope(Starlette(routes=routes, lifespan=lifespan))
