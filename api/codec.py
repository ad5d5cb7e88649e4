"""`python -m api.codec`: shows what is encrypted in Temporal to an operator, in its Web UI and on
its command line.

Temporal's protocol of a remote codec, but for /encode: who may read cannot write. It needs the keys
and nothing else: run it where operators reach it, and nobody else does.
"""

import argparse
import asyncio
import base64
import binascii
import hmac
import sys
from collections.abc import Sequence
from contextlib import suppress

from google.protobuf.json_format import MessageToJson, Parse, ParseError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payloads

from api.http.server import listen, serve
from core.platform.observability.access_log import AccessLog
from core.platform.observability.logging import configure_logging, get_logger
from core.platform.settings.load import describe_settings, load, secret_values
from core.platform.settings.processes import CodecProcess
from core.platform.temporal.payload_encryption import SealedPayloads, payload_codec

MAX_BODY_BYTES = 8_000_000
"""A page of a history is at most 4 MB, and a third longer in base64."""
MAX_CONNECTIONS = 100
_WHO = 'Basic realm="Takeone codec", charset="UTF-8"'

log = get_logger(__name__)


def create_codec_app(
    codec: SealedPayloads, *, token: str | None, origins: Sequence[str]
) -> Starlette:
    """token: None where only this machine can reach it."""

    async def decode(request: Request) -> Response:
        if (refused := _refusal(request, token, origins)) is not None:
            return refused
        body = await _body(request)
        if body is None:
            return PlainTextResponse("too large", status_code=413)
        try:
            sealed = Parse(body, Payloads())
        except (ParseError, ValueError, RecursionError):
            return PlainTextResponse("not Temporal payloads", status_code=400)
        shown = Payloads(payloads=[codec.readable(payload) for payload in sealed.payloads])
        log.info(
            "payloads shown",
            payloads=len(shown.payloads),
            namespace=request.headers.get("x-namespace", "")[:100],
        )
        return Response(MessageToJson(shown, indent=None), media_type="application/json")

    async def welcome(request: Request) -> Response:
        """A browser that was given the token here shows it with the Web UI's requests, too."""
        if (refused := _refusal(request, token, origins)) is not None:
            return refused
        return PlainTextResponse("The Temporal Web UI can now show what is encrypted.")

    async def alive(_request: Request) -> Response:
        return PlainTextResponse("ok")

    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["POST"],
        allow_headers=["authorization", "content-type", "x-namespace"],
        allow_credentials=True,
    )
    routes = [
        Route("/decode", decode, methods=["POST"]),
        Route("/", welcome, methods=["GET"]),
        Route("/healthz", alive, methods=["GET"]),
    ]
    return Starlette(routes=routes, middleware=[cors])


def _refusal(request: Request, token: str | None, origins: Sequence[str]) -> Response | None:
    origin = request.headers.get("origin")
    if (
        origin is not None and origin not in origins
    ):  # a page of somebody else's, in an operator's browser
        log.warning("codec refused a page", origin=origin[:200])
        return PlainTextResponse("this page may not ask", status_code=403)
    if token is not None and not hmac.compare_digest(
        _shown_token(request).encode(), token.encode()
    ):
        log.warning("codec refused a caller")
        return PlainTextResponse(
            "the token is needed", status_code=401, headers={"WWW-Authenticate": _WHO}
        )
    return None


def _shown_token(request: Request) -> str:
    """Of `Bearer TOKEN`, or of a browser's `Basic` with any name and the token for a password."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError):
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
    return rest if scheme.lower() == "bearer" else ""


async def _body(request: Request) -> bytes | None:
    """None: it is larger than may be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m api.codec",
        description=__doc__,
        epilog=describe_settings(CodecProcess),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    settings = load(CodecProcess)
    configure_logging(settings.log_level, settings.log_format, secrets=secret_values(settings))
    app = create_codec_app(
        payload_codec(settings.encryption_key_bytes(), encrypt=True),
        token=settings.codec_token.get_secret_value() if settings.codec_token is not None else None,
        origins=settings.origins(),
    )
    try:
        listener = listen(settings.codec_host, settings.codec_port)
    except OSError as error:
        place = f"{settings.codec_host}:{settings.codec_port}"
        sys.stderr.write(f"CODEC_HOST, CODEC_PORT: cannot listen on {place}: {error.strerror}\n")
        return 1
    log.info("listening", address=f"http://{settings.codec_host}:{settings.codec_port}")
    with listener, suppress(KeyboardInterrupt):
        asyncio.run(serve(AccessLog(app), listener, MAX_CONNECTIONS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
