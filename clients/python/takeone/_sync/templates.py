# Made from _async/templates.py by make_sync.py. Change that file, and run make_sync.py.
"""Templates: stored plans, which are run with values."""

from collections.abc import Iterator

from takeone._calls import templates
from takeone._calls.orders import Plan
from takeone._sync.sender import Sender
from takeone.models.base import Page
from takeone.models.templates import Template, TemplateSummary


class Templates:
    """The stored plans of the account. `executions.create(template=id, values=…)` runs one."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def create(self, name: str, plan: Plan, *, idempotency_key: str | None = None) -> Template:
        """Check, price and store a plan with variables. It never changes."""
        return self._sender.send(templates.create(name, plan, idempotency_key))

    def list(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> Iterator[TemplateSummary]:
        """Iterate over templates, newest first, without their plans."""
        return self._sender.pages(templates.page({"limit": limit, "cursor": cursor}))

    def page(self, *, limit: int | None = None, cursor: str | None = None) -> Page[TemplateSummary]:
        """Return one page of templates."""
        return self._sender.send(templates.page({"limit": limit, "cursor": cursor}))

    def get(self, template_id: str) -> Template:
        """Return a template with its plan."""
        return self._sender.send(templates.get(template_id))

    def delete(self, template_id: str) -> None:
        """Delete a template. Its executions continue."""
        self._sender.send(templates.delete(template_id))
