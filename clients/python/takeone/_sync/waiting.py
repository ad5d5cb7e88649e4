# Made from _async/waiting.py by make_sync.py. Change that file, and run make_sync.py.
"""The wait for the end of an execution."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Generic, TypeVar

from takeone._calls import orders
from takeone._core.events import document
from takeone._core.sse import ServerEvent
from takeone._core.streams import Following
from takeone._core.watching import Watch
from takeone._sync import _io
from takeone._sync.sender import Sender
from takeone._sync.streams import parts
from takeone.errors import CallError, ExecutionFailedError, WaitTimeoutError
from takeone.models.executions import COMPLETED, ExecutionData

E = TypeVar("E", bound=ExecutionData)


class Wait(Generic[E]):
    """One wait. model: what the execution is read as. timeout: in seconds."""

    def __init__(
        self, sender: Sender, model: type[E], execution_id: str, timeout: float | None
    ) -> None:
        self._sender = sender
        self._model = model
        self._execution_id = execution_id
        self._watch = Watch(execution_id, timeout, time.monotonic())
        self._following = Following(orders.events_path(execution_id), sender.settings)

    def ended(
        self, on_progress: Callable[[E], object] | None, *, raise_on_failure: bool, cancel: bool
    ) -> E:
        """Return the execution when it has ended. cancel: it, at the time-out."""
        try:
            execution = self._run(on_progress)
        except WaitTimeoutError:
            if cancel:
                self._sender.send(orders.cancel(self._execution_id))
            raise
        if raise_on_failure and execution.status != COMPLETED:
            raise ExecutionFailedError(execution)
        return execution

    def _run(self, on_progress: Callable[[E], object] | None) -> E:
        while True:
            if self._watch.streams(time.monotonic()):
                snapshots = self._streamed(every_change=on_progress is not None)
            else:
                snapshots = self._looked()
            with closing(snapshots):
                for execution in snapshots:
                    changed = self._watch.changed(execution, time.monotonic())
                    if changed and on_progress is not None:
                        _io.call(on_progress, execution)
                    if execution.ended:
                        return execution
            _io.sleep(self._watch.pause(time.monotonic()))

    def _streamed(self, *, every_change: bool) -> Generator[E]:
        """Follow one stream, and yield the execution as the service sends it.

        every_change: Only snapshots have all members, so read the execution at other events, and
        at heartbeats for its progress.
        """
        failure: CallError | None = None
        empty = True
        try:
            with closing(parts(self._sender, self._following)) as stream:
                for events in stream:
                    empty = False
                    self._watch.streamed(time.monotonic())
                    execution = self._latest(events)
                    if execution is None and every_change:
                        execution = self._glance()
                    if execution is not None:
                        yield execution
                    if not self._watch.streams(time.monotonic()):
                        return
        except CallError as error:
            failure = error
        self._watch.stream_ended(self._following, failure, time.monotonic(), empty=empty)

    def _looked(self) -> Generator[E]:
        """Read the execution once, and yield it."""
        try:
            execution = self._look()
        except CallError as error:
            self._watch.missed(error, time.monotonic())
        else:
            yield execution

    def _glance(self) -> E | None:
        """Return the execution; None if it cannot be read now. The stream continues meanwhile."""
        try:
            return self._look()
        except CallError:
            return None

    def _look(self) -> E:
        """Return the execution. A failure is not repeated here: the wait looks again anyway."""
        call = orders.get(self._model, self._execution_id)
        seconds = self._watch.look_seconds(time.monotonic())
        return self._sender.send(call, self._sender.settings.for_look(seconds))

    def _latest(self, events: Sequence[ServerEvent]) -> E | None:
        """Return the last execution among events."""
        documents = [document(self._model, event, self._sender) for event in events]
        return next((each for each in reversed(documents) if each is not None), None)
