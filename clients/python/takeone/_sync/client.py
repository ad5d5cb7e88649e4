# Made from _async/client.py by make_sync.py. Change that file, and run make_sync.py.
"""The blocking client."""

from collections.abc import Iterator, Mapping
from types import TracebackType

import httpx
from typing_extensions import Self

from takeone._calls.orders import EVENTS
from takeone._core.events import account_event
from takeone._core.settings import RETRIES, TIMEOUT_SECONDS, make_settings
from takeone._core.streams import Following
from takeone._plans.nodes import Node, Output
from takeone._sync.account import Keys, Models, Plans, ProviderKeys, Service, Usage
from takeone._sync.assets import Assets
from takeone._sync.compositions import BlockingComposition
from takeone._sync.executions import Executions, Quotes
from takeone._sync.sender import Sender
from takeone._sync.streams import follow
from takeone._sync.templates import Templates
from takeone._sync.webhooks import Endpoints, Webhooks
from takeone.models.events import AccountEvent


class Takeone:
    """A client of Takeone.

    api_key, base_url: by default from TAKEONE_API_KEY and TAKEONE_BASE_URL. timeout: of one
    request, in seconds. retries: how often a call is sent again after a failure, with the same
    idempotency key. http_client: one of your own, which is not closed. Environment variables for
    proxies and certificates are those of httpx.

    executions, quotes, assets, templates: orders, their prices, files and stored plans. models,
    plans: what can be ordered. endpoints, webhooks: notifications. usage, keys, provider_keys,
    service: the account and the service. events(): changes of all executions.

    A client may be used by several tasks of one event loop, at once.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        http_client: httpx.Client | None = None,
    ) -> None:
        settings = make_settings(api_key, base_url, timeout, retries)
        http = http_client or httpx.Client()
        self._owned = http if http_client is None else None
        self._sender = Sender(settings, http)
        self.assets = Assets(self._sender)
        self.endpoints = Endpoints(self._sender)
        self.executions = Executions(self._sender)
        self.keys = Keys(self._sender)
        self.models = Models(self._sender)
        self.plans = Plans(self._sender)
        self.provider_keys = ProviderKeys(self._sender)
        self.quotes = Quotes(self._sender)
        self.service = Service(self._sender)
        self.templates = Templates(self._sender)
        self.usage = Usage(self._sender)
        self.webhooks = Webhooks(self._sender)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._sender.settings.base_url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def compose(
        self, *nodes: Node, outputs: Mapping[str, Node | Output] | None = None
    ) -> BlockingComposition:
        """Compose steps into a plan that this client executes; the last one makes the result."""
        return BlockingComposition(nodes, outputs or {}, self.executions, self.quotes)

    def events(self) -> Iterator[AccountEvent]:
        """Iterate over the changes of all executions of the account, without an end.

        Each stream begins with an event of the type `connected`, also after a lost connection.
        Changes before it are not sent: read the list of executions when it comes.
        """
        following = Following(EVENTS, self._sender.settings, resumes=False)
        for event in follow(self._sender, following):
            if event is None:
                yield AccountEvent(type="connected")
            else:
                yield account_event(AccountEvent, event)

    def close(self) -> None:
        """Close the connections."""
        if self._owned is not None:
            self._owned.close()
