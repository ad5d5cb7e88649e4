"""The client with the settings of the environment, for `compose` without a client."""

import atexit
from collections.abc import Mapping
from functools import cache

from typing_extensions import Unpack

from takeone._calls.bodies import OrderOptions
from takeone._calls.orders import Values
from takeone._plans.nodes import Node, Output
from takeone._plans.plan import Composition
from takeone._sync.client import Takeone
from takeone._sync.handles import Accepted
from takeone.models.quotes import Quote


class DefaultComposition(Composition):
    """A composition that is executed by the client of the environment, made at the first use."""

    def execute(
        self,
        *,
        values: Values | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[OrderOptions],
    ) -> Accepted:
        """Execute the plan, and return at once. values: of its variables, by name."""
        return default_client().executions.create(
            self, values=values, idempotency_key=idempotency_key, **options
        )

    def quote(self, *, values: Values | None = None, **options: Unpack[OrderOptions]) -> Quote:
        """Return what the plan may cost. Nothing is started or held."""
        return default_client().quotes.plan(self, values=values, **options)


@cache
def default_client() -> Takeone:
    """Return the client of the environment, which is closed when the program ends."""
    client = Takeone()
    atexit.register(client.close)
    return client


def compose(*nodes: Node, outputs: Mapping[str, Node | Output] | None = None) -> DefaultComposition:
    """Compose steps into a plan; the last one makes the result. Nothing is sent yet.

    outputs: further results by names of your own. The plan is executed by a client with the
    settings of the environment; `client.compose` is executed by that client.
    """
    return DefaultComposition(nodes, outputs or {})
