# Made from _async/handles.py by make_sync.py. Change that file, and run make_sync.py.
"""Executions with methods: what an accepted order and a read execution can do."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from takeone._calls import orders
from takeone._core.watching import Watch
from takeone._sync import _io
from takeone._sync.sender import Sender
from takeone.errors import (
    CallError,
    ConfigurationError,
    DownloadError,
    ExecutionFailedError,
    WaitTimeoutError,
)
from takeone.models.base import Model
from takeone.models.executions import (
    COMPLETED,
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

    def refresh(self) -> "Execution":
        """Return the execution as it is now."""
        return self._open().send(orders.get(Execution, self.id))

    def wait(
        self,
        timeout: float | None = None,
        *,
        on_progress: OnProgress | None = None,
        raise_on_failure: bool = True,
        cancel_on_timeout: bool = False,
    ) -> "Execution":
        """Wait for the end, and return the execution.

        timeout: in seconds; then WaitTimeoutError is raised, and the execution continues, unless
        cancel_on_timeout is set. on_progress: is called with the execution at each change. With
        raise_on_failure, an execution without a result raises ExecutionFailedError. While the
        service is unreachable, the wait continues for up to five minutes.
        """
        try:
            execution = self._wait(timeout, on_progress)
        except WaitTimeoutError:
            if cancel_on_timeout:
                self.cancel()
            raise
        if raise_on_failure and execution.status != COMPLETED:
            raise ExecutionFailedError(execution)
        return execution

    def cancel(self) -> Cancelled:
        """Stop buying, and cancel the jobs that run at providers. Repeating is safe."""
        return self._open().send(orders.cancel(self.id))

    def approve(self, step: str, option: str | None = None, *, reject: bool = False) -> Approved:
        """Decide about a step in `waiting_for`: an option, or none of them. Repeating is safe."""
        return self._open().send(orders.approve(self.id, step, option, reject=reject))

    def retry(
        self, *, accept_possible_double_cost: bool = False, idempotency_key: str | None = None
    ) -> "Retried":
        """Run a failed or cancelled execution again; what is paid for is kept."""
        call = orders.retry(
            Retried,
            self.id,
            idempotency_key,
            accept_double_cost=accept_possible_double_cost,
        )
        return self._open().send(call)

    def delete(self) -> Deleted:
        """Erase prompt, metadata, results and files of an execution that has ended."""
        return self._open().send(orders.delete(self.id))

    def _wait(self, timeout: float | None, on_progress: OnProgress | None) -> "Execution":
        watch = Watch(self.id, timeout, time.monotonic())
        while True:
            try:
                execution = self.refresh()
            except CallError as error:
                watch.missed(error, time.monotonic())
            else:
                if watch.changed(execution, time.monotonic()) and on_progress is not None:
                    _io.call(on_progress, execution)
                if execution.ended:
                    return execution
            _io.sleep(watch.next_look(time.monotonic()))

    def _open(self) -> Sender:
        if self._sender is None:
            raise ConfigurationError("This execution was not read by a client; use one's methods.")
        return self._sender


class Execution(ExecutionData, Handle):
    """An execution as of one moment."""

    def download(self, path: str | Path, file: ResultFile | None = None) -> Path:
        """Store a file under a path, when its checksum is right; by default the result's first.

        file: one of `result.assets` or `result.outputs`.
        """
        chosen = file or (self.result.file if self.result else None)
        if chosen is None:
            raise DownloadError(f"{self.id} has no result to download: it is {self.status}.")
        return self._open().download(chosen.id, chosen.sha256, Path(path))


class Accepted(AcceptedData, Handle):
    """An accepted order: its execution has been queued."""


class Retried(RetriedData, Handle):
    """An accepted retry: its execution has been queued again."""
