"""`python -m api.codec`: decrypt workflow payloads for operators, in Temporal's Web UI and CLI.

It implements Temporal's remote codec protocol without /encode, so a reader cannot write. It needs
only the encryption keys. Run it where operators alone can reach it.
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
"""A page of a history has at most 4 MB, and base64 adds a third."""
MAX_CONNECTIONS = 100
AUTHENTICATE = 'Basic realm="Takeone codec", charset="UTF-8"'

log = get_logger(__name__)


def create_codec_app(
    codec: SealedPayloads, *, token: str | None, origins: Sequence[str]
) -> Starlette:
    """token: None if only this machine can reach the codec."""

    async def decode(request: Request) -> Response:
        if (refused := _refusal(request, token, origins)) is not None:
            return refused
        body = await _body(request)
        if body is None:
            return PlainTextResponse("the body is too large", status_code=413)
        try:
            sealed = Parse(body, Payloads())
        except (ParseError, ValueError, RecursionError):
            return PlainTextResponse("not Temporal payloads", status_code=400)
        shown = Payloads(payloads=[codec.readable(payload) for payload in sealed.payloads])
        log.info(
            "codec.payloads_decrypted",
            payloads=len(shown.payloads),
            namespace=request.headers.get("x-namespace", "")[:100],
        )
        return Response(MessageToJson(shown, indent=None), media_type="application/json")

    async def welcome(request: Request) -> Response:
        """Ask the browser for the token, which it then also sends with the Web UI's requests."""
        if (refused := _refusal(request, token, origins)) is not None:
            return refused
        return PlainTextResponse("The Temporal Web UI can now show decrypted payloads.")

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
    if origin is not None and origin not in origins:  # a foreign page in an operator's browser
        log.warning("codec.origin_refused", origin=origin[:200])
        return PlainTextResponse("this origin is not allowed", status_code=403)
    if token is not None and not hmac.compare_digest(_sent_token(request).encode(), token.encode()):
        log.warning("codec.token_refused")
        return PlainTextResponse(
            "a valid token is required", status_code=401, headers={"WWW-Authenticate": AUTHENTICATE}
        )
    return None


def _sent_token(request: Request) -> str:
    """Return the token of `Bearer TOKEN`, or the password of a browser's `Basic`."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError):
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
    return rest if scheme.lower() == "bearer" else ""


async def _body(request: Request) -> bytes | None:
    """Return the body, or None if it is too large."""
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
        return 2
    log.info("server.listening", address=f"http://{settings.codec_host}:{settings.codec_port}")
    with listener, suppress(KeyboardInterrupt):
        asyncio.run(serve(AccessLog(app), listener, MAX_CONNECTIONS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
