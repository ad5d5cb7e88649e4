"""The API key of a tool call, and whether it may order."""

from collections.abc import Mapping
from typing import Any, Final

import httpx
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from takeone._async.client import AsyncTakeone
from takeone.errors import NotFoundError
from takeone.models.account import Key

REQUEST_SECONDS: Final = 20.0
RETRIES: Final = 1
"""With its retry, a call stays within the 60 s after which MCP clients give up."""
BEARER: Final = "bearer "

NO_LIMIT: Final = (
    "The API key has no spend limit, so an agent could spend the whole budget of the account. Use "
    "a key with a limit: POST /api/keys with "
    '{"name": "agent", "scopes": ["read", "generate"], "spendLimit": {"daily": "5"}}, or '
    "`takeone-admin keys set-spend-limit KEY --daily-usd 5`. --allow-unlimited overrides this."
)
NO_KEY: Final = "Send an API key of Takeone in the header Authorization: Bearer tko_…"


def bearer_of(headers: Mapping[str, str]) -> str | None:
    """Return the API key of an HTTP request; None without one."""
    text = headers.get("authorization", "").strip()
    if text[: len(BEARER)].lower() != BEARER:
        return None
    return text[len(BEARER) :].strip() or None


class Access:
    """How tool calls reach the service.

    api_key: of this process, over stdio; None: each HTTP request brings its own key. base_url: None
    for TAKEONE_BASE_URL. allow_unlimited: order also with a key that has no spend limit.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        allow_unlimited: bool = False,
    ) -> None:
        self._http = http
        self._api_key = api_key
        self._base_url = base_url
        self.allow_unlimited = allow_unlimited

    def client(self, context: Context[Any, Any] | None = None) -> AsyncTakeone:
        """Return a client with the key of a tool call. Raises ToolError without a key."""
        key = self._api_key
        if key is None and context is not None:
            key = bearer_of(context.headers or {})
        if key is None:
            raise ToolError(NO_KEY)
        return AsyncTakeone(
            key, self._base_url, timeout=REQUEST_SECONDS, retries=RETRIES, http_client=self._http
        )

    async def check_limit(self, client: AsyncTakeone) -> None:
        """Raise ToolError unless the key of a client has a spend limit."""
        if self.allow_unlimited:
            return
        key = await current_key(client)
        if key is None or key.spend_limit is None:
            raise ToolError(NO_LIMIT)


async def current_key(client: AsyncTakeone) -> Key | None:
    """Return the key of a client; None: its credential is a token, which has no spend limit."""
    try:
        return await client.keys.current()
    except NotFoundError:
        return None
