"""Executions with methods: what an accepted order and a read execution can do."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from takeone._async.sender import Sender
from takeone._async.streams import follow
from takeone._async.waiting import Wait
from takeone._calls import orders
from takeone._calls.values import Amount
from takeone._core.events import END, execution_event
from takeone._core.streams import Following
from takeone.errors import (
    ConfigurationError,
    DownloadError,
)
from takeone.models.base import Model
from takeone.models.events import EventData
from takeone.models.executions import (
    AcceptedData,
    Approved,
    Cancelled,
    Deleted,
    ExecutionData,
    ResultFile,
    RetriedData,
)

OnProgress = Callable[["Execution"], object]


class Handle(Model):
    """The methods of an execution."""

    id: str
    _sender: Sender | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any, /) -> None:
        """Keep the connection to the service that the execution was read from."""
        self._sender = context if isinstance(context, Sender) else None

    async def refresh(self) -> "Execution":
        """Return the execution as it is now."""
        return await self._open().send(orders.get(Execution, self.id))

    async def wait(
        self,
        timeout: float | None = None,
        *,
        on_progress: OnProgress | None = None,
        raise_on_failure: bool = True,
        cancel_on_timeout: bool = False,
    ) -> "Execution":
        """Wait for the end, and return the execution.

        timeout: in seconds; then WaitTimeoutError is raised, and the execution continues, unless
        cancel_on_timeout is set. on_progress: is called with the execution at each change; what it
        raises ends the wait. With raise_on_failure, an execution without a result raises
        ExecutionFailedError. The wait follows the stream of events, and reads the execution from
        time to time where it cannot. While the service is unreachable, it continues for up to five
        minutes.
        """
        return await Wait(self._open(), Execution, self.id, timeout).ended(
            on_progress, raise_on_failure=raise_on_failure, cancel=cancel_on_timeout
        )

    def events(self, after: int | None = None) -> AsyncIterator["Event"]:
        """Iterate over the changes of the execution until it ends; see `executions.events`."""
        return execution_events(self._open(), self.id, after)

    async def cancel(self) -> Cancelled:
        """Stop buying, and cancel the jobs that run at providers. Repeating is safe."""
        return await self._open().send(orders.cancel(self.id))

    async def approve(
        self, step: str, option: str | None = None, *, reject: bool = False
    ) -> Approved:
        """Decide about a step in `waiting_for`: an option, or none of them. Repeating is safe."""
        return await self._open().send(orders.approve(self.id, step, option, reject=reject))

    async def retry(
        self,
        *,
        max_cost: Amount | None = None,
        accept_possible_double_cost: bool = False,
        idempotency_key: str | None = None,
    ) -> "Retried":
        """Run a failed or cancelled execution again; what is paid for is kept.

        max_cost: what the steps that are bought again may cost, in US dollars.
        """
        call = orders.retry(
            Retried,
            self.id,
            idempotency_key,
            max_cost=max_cost,
            accept_double_cost=accept_possible_double_cost,
        )
        return await self._open().send(call)

    async def delete(self) -> Deleted:
        """Erase prompt, metadata, results and files of an execution that has ended."""
        return await self._open().send(orders.delete(self.id))

    def _open(self) -> Sender:
        if self._sender is None:
            raise ConfigurationError("This execution was not read by a client; use one's methods.")
        return self._sender


class Execution(ExecutionData, Handle):
    """An execution as of one moment."""

    async def download(self, path: str | Path, file: ResultFile | None = None) -> Path:
        """Store a file under a path, when its checksum is right; by default the result's first.

        file: one of `result.assets` or `result.outputs`.
        """
        chosen = file or (self.result.file if self.result else None)
        if chosen is None:
            raise DownloadError(f"{self.id} has no result to download: it is {self.status}.")
        return await self._open().download(chosen.id, chosen.sha256, Path(path))


class Event(EventData):
    """A change of an execution. execution: of the types `snapshot` and `end`."""

    execution: Execution | None = None


async def execution_events(
    sender: Sender, execution_id: str, after: int | None
) -> AsyncIterator[Event]:
    """Yield the events of an execution, until nothing more follows."""
    following = Following(orders.events_path(execution_id), sender.settings, after)
    async for event in follow(sender, following, until=END):
        if event is not None:
            yield execution_event(Event, event, sender)


class Accepted(AcceptedData, Handle):
    """An accepted order: its execution has been queued."""


class Retried(RetriedData, Handle):
    """An accepted retry: its execution has been queued again."""
