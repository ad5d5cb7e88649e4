# Made from _async/compositions.py by make_sync.py. Change that file, and run make_sync.py.
"""Compositions that are executed by the blocking client."""

from collections.abc import Mapping, Sequence

from typing_extensions import Unpack

from takeone._calls.bodies import OrderOptions
from takeone._calls.orders import Values
from takeone._plans.nodes import Node, Output
from takeone._plans.plan import Composition
from takeone._sync.executions import Executions, Quotes
from takeone._sync.handles import Accepted
from takeone.models.quotes import Quote


class BlockingComposition(Composition):
    """A composition, and the resources of the client that executes it."""

    def __init__(
        self,
        nodes: Sequence[Node],
        outputs: Mapping[str, Node | Output],
        executions: Executions,
        quotes: Quotes,
    ) -> None:
        super().__init__(nodes, outputs)
        self._executions = executions
        self._quotes = quotes

    def execute(
        self,
        *,
        values: Values | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[OrderOptions],
    ) -> Accepted:
        """Execute the plan, and return at once. values: of its variables, by name."""
        return self._executions.create(
            self, values=values, idempotency_key=idempotency_key, **options
        )

    def quote(self, *, values: Values | None = None, **options: Unpack[OrderOptions]) -> Quote:
        """Return what the plan may cost. Nothing is started or held."""
        return self._quotes.plan(self, values=values, **options)
