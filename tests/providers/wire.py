"""A scripted raw server, and provider settings that use it."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr

from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import ProviderHandle
from core.domain.plans import Scalar
from core.platform.clock import boot_seconds
from core.platform.settings.providers import ProviderSettings
from core.platform.temporal.policies import SEND_WITHIN_SECONDS
from core.providers.inputs import complete_inputs
from core.providers.models import InputType, MediaInput, Model, ModelInputs
from core.providers.port import CreateAnswer, CreateRequest, Provider
from core.providers.registry import OWN_KEY_PROVIDERS, calls_back
from tests.cog.models import models_file

FAL_KEY = "0f3c1a52-7b1e-4a55-9a53-3f1f7d9a2c11:9f8e7d6c5b4a39281706f5e4d3c2b1a0"
REPLICATE_TOKEN = "r8_Zx81mNq27bTtQv5RwYy3LkJh6GfDs9AaPp0O"
ELEVENLABS_KEY = "sk_4f1c2b7a9d8e6f5047a3b1c9d2e8f605a7b4c3d1e9f80265"
WEBHOOK_SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
COG_TOKEN = "cog-callbacks-5b1f0c2a9d"
OFFLINE = "http://127.0.0.1:9"
KEYS = (FAL_KEY, REPLICATE_TOKEN, ELEVENLABS_KEY, WEBHOOK_SECRET)
CALLING_BACK = tuple(filter(calls_back, OWN_KEY_PROVIDERS))


_FILES = TemporaryDirectory(prefix="takeone-models-")


def _models_file(url: str) -> Path:
    folder = Path(_FILES.name) / sha256(url.encode()).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    return models_file(folder, url)


def settings(base_url: str, **more: object) -> ProviderSettings:
    """Return settings with every provider at this address."""
    return ProviderSettings(
        fal_key=SecretStr(FAL_KEY),
        fal_queue_url=f"{base_url}/fal/queue",
        fal_api_url=f"{base_url}/fal/api/v1",
        fal_jwks_url=f"{base_url}/fal/.well-known/jwks.json",
        replicate_api_token=SecretStr(REPLICATE_TOKEN),
        replicate_base_url=f"{base_url}/replicate",
        elevenlabs_api_key=SecretStr(ELEVENLABS_KEY),
        elevenlabs_base_url=f"{base_url}/elevenlabs",
        cog_models_file=_models_file(f"{base_url}/cog"),
        cog_webhook_token=SecretStr(COG_TOKEN),
    ).model_copy(update=more)


FILES = {
    InputType.IMAGE: "https://pictures.example/kite.png",
    InputType.VIDEO: "https://pictures.example/kite.mp4",
    InputType.AUDIO: "https://pictures.example/kite.mp3",
}


def full_inputs(
    model: Model, *, with_image: bool | None = None, **changes: Scalar | None
) -> ModelInputs:
    """Return a value for every input of the model.

    with_image: with or without a picture; None: with a picture if the model accepts one.
    changes: other values, or the address of a file; None: without this input, and
    without those that need it.
    """
    values: dict[str, Scalar] = {}
    media: dict[str, MediaInput] = {}
    for item in model.inputs:
        if item.type.media is not None:
            media[item.name] = MediaInput(url=FILES[item.type])
        elif item.default is None:
            sample = _SAMPLES.get(item.type, "a red kite over a harbour")
            values[item.name] = item.choices[0] if item.choices else sample
    if with_image is False:
        changes["image"] = None
    for name, value in changes.items():
        values.pop(name, None)
        file = media.pop(name, None)
        if file is not None and isinstance(value, str):
            media[name] = replace(file, url=value)
        elif value is not None:
            values[name] = value
    for item in model.inputs:
        if item.needs is not None and item.needs not in media:
            media.pop(item.name, None)
    return complete_inputs(model, values, media)


_SAMPLES: dict[InputType, Scalar] = {
    InputType.INTEGER: 811,
    InputType.NUMBER: 0.5,
    InputType.FLAG: True,
}


def handle_of(provider: Provider, model: Model, job_id: str = "5f0c7d0e11114222") -> ProviderHandle:
    return ProviderHandle(
        provider=provider.name, model=model.id, provider_job_id=ProviderJobId(job_id)
    )


async def submit(
    provider: Provider,
    request: CreateRequest,
    *,
    timeout_seconds: float = 3.0,
    ago_seconds: float = 0.0,
) -> CreateAnswer:
    """Send a request whose intent began `ago_seconds` ago."""
    not_after = boot_seconds() - ago_seconds + SEND_WITHIN_SECONDS
    answer = await provider.submit(request, timeout_seconds=timeout_seconds, not_after=not_after)
    if answer.delivery is not None:
        await answer.delivery.close()
    return answer


def free_port() -> int:
    """Return a port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class ReceivedRequest:
    """A request as received."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def key(self) -> str:
        """The header with the key."""
        return self.headers.get("xi-api-key") or self.headers["authorization"]


@dataclass
class Wire:
    """A server: its address, the requests read so far and the number of connections."""

    url: str = ""
    received: list[ReceivedRequest] = field(default_factory=list[ReceivedRequest])
    connections: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class Line:
    """A connection of the script."""

    def __init__(
        self, wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._wire = wire
        self._reader = reader
        self._writer = writer

    async def read_headers(self) -> ReceivedRequest:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *rest = head.strip().split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.partition(":") for line in rest)
        request = ReceivedRequest(
            method, target, {name.lower(): value.strip() for name, _, value in pairs}, b""
        )
        self._wire.received.append(request)
        self._wire.arrived.set()
        return request

    async def read(self) -> ReceivedRequest:
        request = await self.read_headers()
        request.body = await self._reader.readexactly(
            int(request.headers.get("content-length", "0"))
        )
        return request

    async def read_all(self) -> bytes:
        """Read until the peer closes or resets the connection."""
        came = b""
        try:
            while part := await self._reader.read(65536):
                came += part
        except ConnectionError:
            pass
        return came

    @property
    def peer(self) -> object:
        """Return the peer's address."""
        return self._writer.get_extra_info("peername")

    async def write(self, raw: bytes) -> None:
        self._writer.write(raw)
        await self._writer.drain()

    async def answer(
        self, status: int, body: object, headers: dict[str, str] | None = None
    ) -> None:
        """Send a response; a body that is not bytes is sent as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {
            "content-type": "application/json",
            "content-length": str(len(raw)),
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await self.write(f"HTTP/1.1 {status} -\r\n{head}\r\n".encode() + raw)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self._writer.transport.abort()


Script = Callable[[Line], Awaitable[None]]


@asynccontextmanager
async def serving(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Wire]:
    """Run the script for every connection, then close the connection."""
    wire = Wire()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.connections += 1
        try:
            await script(Line(wire, reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client hung up first
        finally:
            writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0, ssl=tls)
    wire.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
        await server.wait_closed()


def answering(status: int, body: object, headers: dict[str, str] | None = None) -> Script:
    """Return a script that sends this response to every request."""

    async def script(line: Line) -> None:
        while True:
            await line.read()
            await line.answer(status, body, headers)

    return script
