"""`takeone-mcp`: serve the tools over stdio, or over HTTP for callers with their own keys."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

import anyio
import httpx
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from takeone._core.settings import make_settings
from takeone._version import VERSION
from takeone.errors import AuthenticationError, ConfigurationError, ForbiddenError, TakeoneError
from takeone.mcp.access import NO_KEY, NO_LIMIT, Access, bearer_of, current_key
from takeone.mcp.server import make_server

REFUSED: Final = 2
INTERRUPTED: Final = 130
CONNECTIONS: Final = 1000


class RefusedError(Exception):
    """The server must not start with this configuration. The text names the remedy."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. Exits with code 2 and a text on stderr if the server must not start."""
    options = _parser().parse_args(arguments)
    try:
        anyio.run(_serve, options)
    except (RefusedError, ConfigurationError) as error:
        print(f"takeone-mcp: {error}", file=sys.stderr)  # noqa: T201 - stdout is the protocol's
        sys.exit(REFUSED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="takeone-mcp",
        description="An MCP server that orders videos of Takeone. TAKEONE_BASE_URL is the address "
        "of the service. Over stdio, TAKEONE_API_KEY is the key, which needs a spend limit.",
    )
    parser.add_argument(
        "--http",
        metavar="HOST:PORT",
        help="serve HTTP at /mcp instead of stdio; each request brings its own API key",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a host name, with its port if it has one, under which HTTP clients reach this server",
    )
    parser.add_argument(
        "--allow-unlimited",
        action="store_true",
        help="order also with a key that has no spend limit",
    )
    parser.add_argument("--version", action="version", version=f"takeone-mcp {VERSION}")
    return parser


async def _serve(options: argparse.Namespace) -> None:
    # Each waiting tool call of any caller holds a connection.
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=CONNECTIONS)) as http:
        if options.http is not None:
            await _serve_http(http, options)
        else:
            settings = make_settings(None, None, 1, 0)  # raises an error that names what is missing
            access = Access(
                http,
                api_key=settings.api_key,
                base_url=settings.base_url,
                allow_unlimited=options.allow_unlimited,
            )
            await check_key(access)
            await make_server(access).run_stdio_async()


async def check_key(access: Access) -> None:
    """Raise RefusedError if the key cannot be used. An unreachable service decides nothing."""
    try:
        key = await current_key(access.client())
    except AuthenticationError:
        raise RefusedError("TAKEONE_API_KEY is not a valid key of this service.") from None
    except ForbiddenError:
        raise RefusedError("TAKEONE_API_KEY needs the scopes read and generate.") from None
    except TakeoneError as error:
        # Each order checks the limit again.
        print(f"takeone-mcp: the key is not checked yet: {error}", file=sys.stderr)  # noqa: T201
        return
    if not access.allow_unlimited and (key is None or key.spend_limit is None):
        raise RefusedError(NO_LIMIT)


async def _serve_http(http: httpx.AsyncClient, options: argparse.Namespace) -> None:
    host, _, port = options.http.rpartition(":")
    if not host or not port.isdecimal():
        raise RefusedError("--http needs a host and a port, for example 127.0.0.1:8765.")
    if not os.environ.get("TAKEONE_BASE_URL"):
        raise RefusedError("Set TAKEONE_BASE_URL, for example to http://127.0.0.1:8080.")
    access = Access(http, allow_unlimited=options.allow_unlimited)
    app = http_app(make_server(access), [options.http, *options.allowed_host], host=host)
    config = uvicorn.Config(app, host=host.strip("[]"), port=int(port), log_level="warning")
    await uvicorn.Server(config).serve()


def http_app(server: "MCPServer[object]", allowed_hosts: Sequence[str], *, host: str) -> ASGIApp:
    """Return the HTTP application, for requests to these hosts that bring an API key."""
    app = server.streamable_http_app(
        stateless_http=True,
        host=host,
        transport_security=TransportSecuritySettings(allowed_hosts=list(allowed_hosts)),
    )

    async def with_key(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
            }
            if bearer_of(headers) is None:
                refusal = JSONResponse({"error": NO_KEY}, 401, {"WWW-Authenticate": "Bearer"})
                await refusal(scope, receive, send)
                return
        await app(scope, receive, send)

    return with_key
