# Made from _async/executions.py by make_sync.py. Change that file, and run make_sync.py.
"""Executions and quotes."""

from collections.abc import Iterator

from typing_extensions import Unpack

from takeone._calls import orders
from takeone._calls.bodies import (
    AudioOrder,
    ExecutionFilters,
    ImageOrder,
    OrderOptions,
    TranscriptOrder,
    VideoOrder,
)
from takeone._calls.orders import Plan, Values
from takeone._calls.values import Amount
from takeone._sync.handles import Accepted, Event, Execution, OnProgress, Retried, execution_events
from takeone._sync.sender import Sender
from takeone._sync.waiting import Wait
from takeone.models.base import Page
from takeone.models.executions import Approved, Cancelled, Deleted, StreamTicket, Timeline
from takeone.models.quotes import Quote


class Executions:
    """Orders, and what becomes of them.

    Orders return at once. Each is sent with an idempotency key, its own or `idempotency_key`, so
    that a repeated call is executed and paid once.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def generate_video(
        self, *, idempotency_key: str | None = None, **fields: Unpack[VideoOrder]
    ) -> Accepted:
        """Create a video from a prompt, by way of a picture unless an input replaces it."""
        return self._sender.send(orders.order("generate-video", Accepted, idempotency_key, fields))

    def generate_image(
        self, *, idempotency_key: str | None = None, **fields: Unpack[ImageOrder]
    ) -> Accepted:
        """Create an image."""
        return self._sender.send(orders.order("generate-image", Accepted, idempotency_key, fields))

    def generate_audio(
        self, *, idempotency_key: str | None = None, **fields: Unpack[AudioOrder]
    ) -> Accepted:
        """Create speech."""
        return self._sender.send(orders.order("generate-audio", Accepted, idempotency_key, fields))

    def transcribe(
        self, *, idempotency_key: str | None = None, **fields: Unpack[TranscriptOrder]
    ) -> Accepted:
        """Transcribe sound, also that of a video."""
        return self._sender.send(orders.order("transcribe", Accepted, idempotency_key, fields))

    def create(
        self,
        plan: Plan | None = None,
        *,
        template: str | None = None,
        values: Values | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[OrderOptions],
    ) -> Accepted:
        """Execute a plan: JSON, a composition, or a template by its id, with values."""
        fields = orders.plan_fields(plan, template, values, options)
        return self._sender.send(orders.order("executions", Accepted, idempotency_key, fields))

    def get(self, execution_id: str) -> Execution:
        """Return an execution."""
        return self._sender.send(orders.get(Execution, execution_id))

    def list(self, **filters: Unpack[ExecutionFilters]) -> Iterator[Execution]:
        """Iterate over the executions of the account, newest first. limit: of each page."""
        return self._sender.pages(orders.page(Execution, filters))

    def page(self, **filters: Unpack[ExecutionFilters]) -> Page[Execution]:
        """Return one page of executions."""
        return self._sender.send(orders.page(Execution, filters))

    def cancel(self, execution_id: str) -> Cancelled:
        """Stop buying, and cancel the jobs that run at providers. Repeating is safe."""
        return self._sender.send(orders.cancel(execution_id))

    def approve(
        self, execution_id: str, step: str, option: str | None = None, *, reject: bool = False
    ) -> Approved:
        """Decide about a step in `waiting_for`: an option, or none of them. Repeating is safe."""
        return self._sender.send(orders.approve(execution_id, step, option, reject=reject))

    def retry(
        self,
        execution_id: str,
        *,
        max_cost: Amount | None = None,
        accept_possible_double_cost: bool = False,
        idempotency_key: str | None = None,
    ) -> Retried:
        """Run a failed or cancelled execution again; what is paid for is kept.

        max_cost: what the steps that are bought again may cost, in US dollars.
        """
        call = orders.retry(
            Retried,
            execution_id,
            idempotency_key,
            max_cost=max_cost,
            accept_double_cost=accept_possible_double_cost,
        )
        return self._sender.send(call)

    def delete(self, execution_id: str) -> Deleted:
        """Erase prompt, metadata, results and files of an execution that has ended."""
        return self._sender.send(orders.delete(execution_id))

    def timeline(self, execution_id: str, *, after: int = 0) -> Timeline:
        """Return the events of an execution, oldest first, at most 500 after this sequence."""
        return self._sender.send(orders.timeline(execution_id, after))

    def stream_ticket(self, execution_id: str) -> StreamTicket:
        """Return a ticket for a browser: it opens the event stream once, within 60 seconds."""
        return self._sender.send(orders.stream_ticket(execution_id))

    def events(self, execution_id: str, after: int | None = None) -> Iterator[Event]:
        """Iterate over the changes of an execution until it ends, `end` being the last one.

        The first event is a `snapshot`. after: the sequence of the last known event; then the
        changes behind it come first. Lost connections are opened again and lose no event. Raise
        CallError if the service refuses, or is unreachable for five minutes.
        """
        return execution_events(self._sender, execution_id, after)

    def wait(
        self,
        execution_id: str,
        timeout: float | None = None,
        *,
        on_progress: OnProgress | None = None,
        raise_on_failure: bool = True,
        cancel_on_timeout: bool = False,
    ) -> Execution:
        """Wait for the end of an execution; see `Execution.wait`."""
        return Wait(self._sender, Execution, execution_id, timeout).ended(
            on_progress, raise_on_failure=raise_on_failure, cancel=cancel_on_timeout
        )


class Quotes:
    """Prices of orders before they are made. Nothing is started or held."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def video(self, **fields: Unpack[VideoOrder]) -> Quote:
        """Return what `executions.generate_video` would hold."""
        return self._sender.send(orders.quote("generate-video", fields))

    def image(self, **fields: Unpack[ImageOrder]) -> Quote:
        """Return what `executions.generate_image` would hold."""
        return self._sender.send(orders.quote("generate-image", fields))

    def audio(self, **fields: Unpack[AudioOrder]) -> Quote:
        """Return what `executions.generate_audio` would hold."""
        return self._sender.send(orders.quote("generate-audio", fields))

    def transcript(self, **fields: Unpack[TranscriptOrder]) -> Quote:
        """Return what `executions.transcribe` would hold."""
        return self._sender.send(orders.quote("transcribe", fields))

    def plan(
        self,
        plan: Plan | None = None,
        *,
        template: str | None = None,
        values: Values | None = None,
        **options: Unpack[OrderOptions],
    ) -> Quote:
        """Return what `executions.create` would hold; every error of the plan is raised."""
        return self._sender.send(
            orders.quote("executions", orders.plan_fields(plan, template, values, options))
        )
